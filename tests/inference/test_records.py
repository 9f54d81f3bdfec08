"""docs/prediction.md lists exactly the fields of prediction.json, of a lesion and of worklist.csv."""

import pathlib
import re

import pytest

from ichjax.inference import records

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "prediction.md").read_text()


@pytest.mark.parametrize(
    ("heading", "record"),
    [
        ("## `prediction.json`", records.PredictionRecord),
        ("### Fields of a lesion", records.Lesion),
        ("## `worklist.csv`", records.WorklistRow),
    ],
)
def test_every_field_is_documented_once(heading, record):
    section = re.split(r"^#+ ", TEXT.split(f"{heading}\n")[1], flags=re.MULTILINE)[0]
    fields = [
        name for cell in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(fields) == sorted(record.__annotations__)
