"""Detection by scores in tables, figures and the literature section of the report."""

import copy
import csv
import dataclasses
import shutil

import numpy as np
import pytest

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import detection
from ichjax.report import workdir
from ichjax.report.figures import detection_scores as figures
from ichjax.report.figures import literature as literature_figures
from ichjax.report.html import paper as report_paper
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import detection_scores as tables
from tests.metrics.test_detection import scan_row
from tests.report.html.test_paper import read


def scores(seed, **fields):
    """The detection scores of 20 scans of random slices, 15 with a hemorrhage of one sub-type or several."""
    rng = np.random.default_rng(seed)
    rows = [scan_row(rng, bleeds=n >= 5, lesions=[0.1] * (n > 5), components=[n < 3], **fields) for n in range(20)]
    for n, row in enumerate(rows[5:10]):
        row["slice_labels"] = [[int(k == n) for k in range(5)] for _ in row["slice_labels"]]
    return detection.detection_scores(rows)


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    """The made run, whose main method is ranked by probability, and whose baseline has scores of its own."""
    path = tmp_path_factory.mktemp("detection") / "run"
    shutil.copytree(made.workdir, path)
    plain = workdir.read_run(path)
    main, baseline = (copy.deepcopy(results) for results in plain.methods.values())
    main["detection_scores"] = scores(0, subtypes=False)
    main["detection_scores"]["ranked_by"] = {"slices": "probability", "scans": "probability"}
    baseline |= {"detection_scores": scores(1), "reference": "lee_2019"}
    return dataclasses.replace(plain, methods={"U-Net $x^2$": main, "Lee": baseline, "Older": plain.results})


def test_each_method_has_a_record_for_each_unit_and_sub_type(run):
    records = {(r["method"], r["unit"], r["detected"]): r for r in tables.detection_records(run.methods)}
    everything = [(unit, what) for unit in ("scans", "slices") for what in ("any", *SUBTYPES)]
    assert list(records) == [
        ("U-Net $x^2$", "scans", "any"),
        ("U-Net $x^2$", "slices", "any"),
        *(("Lee", *pair) for pair in everything),
    ]
    found, of_lee = records["Lee", "scans", "any"], run.methods["Lee"]["detection_scores"]
    assert found["auc"] == of_lee["scans"]["any"]["auc"]["value"]
    assert [found["auc_ci95_low"], found["auc_ci95_high"]] == of_lee["scans"]["any"]["auc"]["ci95"]
    assert (found["positives"], found["negatives"], found["scans"]) == (15, 5, 20)
    assert found["brier_of_share"] == pytest.approx(0.75 * 0.25)
    assert records["Lee", "slices", "any"]["brier"] is None
    assert (found["ranked_by"], records["U-Net $x^2$", "scans", "any"]["ranked_by"]) == (
        "own slice scores",
        "probability",
    )


def test_the_tables_are_written(run):
    names = {path.name for path in csv_tables.write_tables(run)}
    assert {"detection.csv", "detection_lesions.csv", "subtype_confusion.csv"} <= names
    rows = list(csv.DictReader((run.path / "tables" / "subtype_confusion.csv").read_text().splitlines()))
    assert [row["true"] for row in rows] == [*SUBTYPES, *SUBTYPES]
    assert all(int(row["n"]) == sum(int(row[name]) for name in (*SUBTYPES, "undecided")) for row in rows)
    lesions = list(csv.DictReader((run.path / "tables" / "detection_lesions.csv").read_text().splitlines()))
    assert [(row["method"], row["lesions"], row["lesions_touched"]) for row in lesions] == [
        ("U-Net $x^2$", "14", "1.0"),
        ("Lee", "14", "1.0"),
    ]
    assert float(lesions[0]["components_on_lesions"]) == pytest.approx(17 / 20)


def test_the_literature_section_has_the_scores_with_their_intervals_and_numbers(run):
    literature_figures.write_literature_figures(run)
    (section,) = [section for section in report_paper.sections(run) if section["id"] == "literature"]
    page = read(section)
    of_lee = run.methods["Lee"]["detection_scores"]
    auc = of_lee["scans"]["any"]["auc"]
    row = next(row for row in page.rows if row[:2] == ["Lee", "own slice scores"])
    assert row[2] == f"{auc['value']:.3f}"  # without what is small
    assert f"{row[2]}<small>{auc['ci95'][0]:.3f} to {auc['ci95'][1]:.3f}</small>" in section["html"]
    assert row[-1] == "15 + 5"
    assert "Filled dots: ranked by the method&#39;s own scores" in section["html"]
    assert "Always saying the share of scans with a hemorrhage would have a Brier score of 0.188." in page.text
    assert {"Area under the ROC curve of each method", "Confusion between sub-types"} <= {
        image["alt"] for image in page.images
    }
    right = of_lee["confusion"]["scans"]["right"]
    assert f"<small>n = {right['n']}</small>" in section["html"]
    assert not any("Older" in row[0] and "probability" in row[1] for row in page.rows if len(row) > 1)


def test_a_run_of_an_older_version_has_no_detection(made):
    plain = workdir.read_run(made.workdir)
    assert tables.detection_records(plain.methods) == tables.lesion_records(plain.methods) == []
    assert tables.confusion_records(plain.methods) == tables.subtype_records(plain.methods) == []
    assert tables.brier_of_share(plain.methods) is None


def test_the_figure_orders_methods_by_scans_and_marks_own_scores(run):
    records = [r for r in tables.detection_records(run.methods) if r["detected"] == "any"]
    axes, slices = figures.auc_by_method(records, "Lee").axes
    areas = {r["method"]: r["auc"] for r in records if r["unit"] == "scans"}
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == sorted(areas, key=areas.get)
    assert axes.get_title(loc="left") == "Scans: 15 with, 5 without a hemorrhage"
    dots = {names[int(line.get_ydata()[0])]: line for line in axes.lines if line.get_marker() == "o"}
    assert {name: line.get_xdata()[0] for name, line in dots.items()} == areas
    assert dots["U-Net $x^2$"].get_markerfacecolor() == "white"
    assert dots["Lee"].get_markerfacecolor() == dots["Lee"].get_color() != dots["U-Net $x^2$"].get_color()
    assert slices.get_title(loc="left") == "Slices"  # the two methods saw different ones


def test_the_figure_of_confusion_has_the_counts_of_each_method(run):
    (confusion,) = tables.confusions(run.methods, "scans").values()
    many = {f"method {n}": confusion for n in range(5)}
    axes = figures.confusion_tables(many, "scans").axes
    assert len(axes) == 8  # three of them empty
    shown = [text.get_text() for text in axes[4].texts]
    counts = [
        count for name in SUBTYPES for count in (*confusion["counts"][name].values(), confusion["undecided"][name])
    ]
    assert shown == [str(count) if count else "\N{MIDDLE DOT}" for count in counts]
