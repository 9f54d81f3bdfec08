"""The table of the coverage of volume intervals, by hand."""

import json

import pytest

from benchmarks import volume_interval
from ichjax.errors import InputError


def prediction(ml, low, high):
    return {"volume_ml": ml, "volume_interval_ml": {"low": low, "high": high, "coverage": 0.9, "calibrated_on": 30}}


def test_the_table_by_hand():
    truth_ml = [0.0, 0.0, 3.0, 4.9, 12.0, 30.0]
    rows = volume_interval.table(
        truth_ml,
        [
            prediction(0.0, 0.0, 2.0),
            prediction(4.0, 1.0, 6.0),  # truth below
            prediction(4.0, 2.0, 6.0),
            prediction(5.0, 3.0, 9.0),
            prediction(2.0, 1.0, 4.0),  # truth above
            prediction(31.0, 20.0, 50.0),
        ],
    )
    names = ("true volume", "scans", "inside", "truth below", "truth above", "median width, mL")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("all", 6, 4, 1, 1, 4.5),
        ("none", 2, 1, 1, 0, 3.5),
        ("below 5 mL", 2, 2, 0, 0, 5.0),
        ("5 to 20 mL", 1, 0, 0, 1, 3.0),
        ("above 20 mL", 1, 1, 0, 0, 30.0),
    ]
    assert rows[0]["coverage"] == pytest.approx(2 / 3)


def test_phantoms_of_the_run_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"phantom": {"preset": "demo", "subjects": 6, "seed": 3}}))
    with pytest.raises(InputError, match="--seed=3 is that of the run's own phantoms; expected another"):
        volume_interval.measure(tmp_path, subjects=2, seed=3)
