"""The report's section on the literature: its tables against hand-computed values, its figures, and what it escapes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy.stats import wilcoxon

from ichjax.metrics.literature import REVIEWED
from ichjax.metrics.ranking import Ranking
from ichjax.report import workdir
from ichjax.report.figures import literature as figures
from ichjax.report.html import paper as report_paper
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import literature as tables


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    """The made run, whose baseline is like a reviewed system, with the seconds of two folds."""
    path = tmp_path_factory.mktemp("literature") / "run"
    shutil.copytree(made.workdir, path)
    for folder, changes in ((path, {}), (path / "baselines" / "threshold", {"title": "Yuh", "reference": "yuh_2008"})):
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | changes))
    for fold, seconds in enumerate(({"fit_s": [9.0], "predict_s": [5.0, 0.5, 0.7]}, {"predict_s": [4.0, 0.6]})):
        folder = path / "baselines" / "threshold" / f"fold_{fold}"
        folder.mkdir(parents=True)
        (folder / "seconds.json").write_text(json.dumps(seconds))
    return workdir.read_run(path)


def test_each_method_has_a_record_with_its_scores_and_times(run):
    of_main, of_yuh = tables.literature_records(run)
    assert (of_main["method"], of_main["reference"], of_main["fit_s"], of_main["predict_s"]) == (
        run.name,
        None,
        None,
        None,
    )
    assert (of_yuh["method"], of_yuh["reference"], of_yuh["fit_s"], of_yuh["predict_s"]) == (
        "Yuh",
        "yuh_2008",
        9.0,
        0.6,
    )
    scores = [s["dice"] for s in run.methods["Yuh"]["subjects"] if s["dice"] is not None]
    assert of_yuh["dice"] == pytest.approx(np.mean(scores))
    assert of_yuh["n"] == len(scores)
    false_ml = [s["predicted_ml"] for s in run.methods["Yuh"]["subjects"] if not s["truth_ml"]]
    assert of_yuh["false_positive_ml"] == pytest.approx(np.mean(false_ml))


def test_no_table_figure_or_section_without_a_method_of_the_literature(made, tmp_path):
    plain = workdir.read_run(made.workdir)
    assert tables.literature_records(plain) == []
    assert figures.write_literature_figures(dataclasses.replace(plain, path=tmp_path)) == []
    assert "literature" not in [section["id"] for section in report_paper.sections(plain)]


def test_differences_are_paired_over_subjects_and_corrected(run):
    records = tables.difference_records(run)
    assert [(record["method"], record["score"]) for record in records] == [("Yuh", "dice"), ("Yuh", "volume_dice")]
    main, other = ({s["subject"]: s["dice"] for s in results["subjects"]} for results in run.methods.values())
    pairs = [other[n] - main[n] for n in main if main[n] is not None]
    assert records[0]["difference"] == pytest.approx(np.mean(pairs))
    assert records[0]["n"] == len(pairs)
    assert records[0]["holm_p"] is None  # too few subjects for a test


def test_p_values_are_corrected_for_the_number_of_methods(run):
    rng = np.random.default_rng(0)
    base = rng.random(20)
    methods = {}
    for name, gain in (("main", 0.0), ("a", 0.2), ("b", -0.1), ("c", 0.01)):
        dice = base + gain * rng.random(20) + 0.05 * rng.random(20)
        rows = [{"subject": n, "dice": float(d), "volume_dice": float(d)} for n, d in enumerate(dice)]
        methods[name] = {"subjects": rows, "left_out_of_paper": [3], "reference": "yuh_2008"}
    many = dataclasses.replace(run, methods=methods)
    records = [record for record in tables.difference_records(many) if record["score"] == "dice"]
    values = {name: np.array([r["dice"] for r in m["subjects"] if r["subject"] != 3]) for name, m in methods.items()}
    raw = [wilcoxon(values[name] - values["main"]).pvalue for name in "abc"]
    order, corrected, worst = np.argsort(raw), {}, 0.0
    for place, k in enumerate(order):
        worst = max(worst, raw[k] * (3 - place))
        corrected["abc"[k]] = min(worst, 1.0)
    assert {record["method"]: record["holm_p"] for record in records} == pytest.approx(corrected)
    names, ranking = tables.rank_methods(methods)
    assert names == ["main", "a", "b", "c"]
    assert ranking.n == 19
    assert names[int(ranking.ranks.argmin())] == "a"


def test_the_section_shows_own_and_published_figures_in_tables_of_their_own(run):
    figures.write_literature_figures(run)
    (section,) = [section for section in report_paper.sections(run) if section["id"] == "literature"]
    html = str(section["html"])
    own, published = html.split("<h3>What was published</h3>")
    for row in REVIEWED.values():
        assert row.figures not in own
    assert all(str(row.year) in published for row in REVIEWED.values())
    assert published.count("not in this run") == len(REVIEWED) - 1
    assert html.count("<img") == 3
    assert "differ by more than the critical difference" in own


def test_the_tables_are_written(run):
    names = {path.name for path in csv_tables.write_tables(run)}
    assert {"literature.csv", "literature_differences.csv", "literature_published.csv"} <= names


def test_labels_stay_apart_in_their_order():
    values = [0.5, 0.5, 0.51, 0.0, 0.0]
    heights = figures._apart(values, least=0.05)
    assert min(np.diff(np.sort(heights))) >= 0.05 - 1e-6
    assert min(heights) >= 0
    assert np.argsort(heights, kind="stable").tolist() == [3, 4, 0, 1, 2]


def test_many_methods_can_be_drawn(tmp_path):
    ranks = np.array([1.5, 3.2, 2.6, 4.1, 3.6])
    ranking = Ranking(ranks, 1.2, 0.01, ((0, 2), (2, 1, 4), (1, 4, 3)), 30)
    figures.save(figures.mean_ranks(["A", "B", "C", "D", "E $x^2$"], ranking), tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 5000


def test_every_reviewed_system_of_the_paper_is_there_once():
    assert len(REVIEWED) == 20
    assert len({row.number for row in REVIEWED.values()}) == 20
