"""With a nominal spacing, every length, area and volume of the run is labeled nominal."""

import copy
import csv
import dataclasses
import re
import shutil

import matplotlib.text
import pytest

from ichjax.files import read_json, write_json
from ichjax.report import units, workdir
from ichjax.report.compare import compare
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet
from ichjax.report.figures import secondary as secondary_figures
from ichjax.report.html import page as report_page
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import summary as summary_tables

BARE = re.compile(r"(?<!nominal )\bm(?:L\b|m\b|m²|m2\b)")
OF_THE_PAPER = re.compile(r"In the paper, two subjects with a hemorrhage[^.]*\.|Spacing, mm and mL are nominal")


@pytest.fixture(scope="module")
def nominal(made, beyond, tmp_path_factory):
    """The made run with every score, as if its images had carried no spacing."""
    path = tmp_path_factory.mktemp("nominal") / "run"
    shutil.copytree(made.workdir, path)
    for folder in (path, *(path / "baselines").iterdir()):
        file = folder / "results.json"
        write_json(file, {**read_json(file), "nominal_spacing": True, "beyond": beyond})
    return workdir.read_run(path)


def bare(text: str) -> list[str]:
    """Units without the word 'nominal', in their context; values of the paper and the explanation of the word are
    exempt."""
    text = OF_THE_PAPER.sub("", " ".join(text.split()).replace(units.NOMINAL_NOTE, ""))
    return [text[max(m.start() - 30, 0) : m.end() + 10] for m in BARE.finditer(text)]


def test_in_the_terminal_and_in_a_comparison(nominal):
    text = summary_tables.summary_text(nominal.methods)
    assert "nominal mL" in text
    assert "43.6 nominal mm²" in " ".join(text.split())
    assert bare(text) == []
    compared = compare.compare(nominal.path, nominal.path)
    assert "Volume error, nominal mL" in compared
    assert bare(compared) == []


def test_in_the_report(nominal):
    page = re.sub(r"<(style|script).*?</\1>", "", report_page.render(nominal), flags=re.S)
    page = re.sub(r"<[^>]*>", " ", page)
    assert "Truth, nominal mL" in page
    assert "Surface Dice at 2 nominal mm" in page
    assert bare(page) == []


def test_in_the_figures(nominal):
    for figure in secondary_figures.draw(nominal.results["beyond"], units.units_of(nominal.results)).values():
        assert bare(" ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))) == []
    measured = secondary_figures.bland_altman(nominal.results["beyond"]["volume_agreement"])
    assert bare(" ".join(text.get_text() for text in measured.findobj(matplotlib.text.Text)))


def test_on_the_scale_bar(nominal):
    case = cases.load_case(nominal, cases.open_dataset(nominal), 49)
    texts = {}
    for flag in (False, True):
        figure = contact_sheet.draw(dataclasses.replace(case.volume, nominal_spacing=flag), case.prediction)
        texts[flag] = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert "50 mm" in texts[False]
    assert "50 nominal mm" in texts[True]


def test_in_the_tables(nominal):
    for file in csv_tables.write_tables(nominal):
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        if any(name.endswith("_ml") for name in rows[0]) or file.stem == "summary":
            of_volumes = [row for row in rows if file.stem == "subjects" or row["score"].endswith("_ml")]
            assert of_volumes
            assert {row["spacing"] for row in of_volumes} == {"nominal"}
    measured = copy.deepcopy(nominal.results) | {"nominal_spacing": False}
    assert {r["spacing"] for r in csv_tables.subject_records({"U-Net": measured})} == {"measured"}
