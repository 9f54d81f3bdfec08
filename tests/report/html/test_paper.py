import copy
import html.parser
import shutil

import markupsafe
import pytest

from ichjax.metrics import volume_interval
from ichjax.report import workdir
from ichjax.report.figures import paper as paper_figures
from ichjax.report.figures import secondary as secondary_figures
from ichjax.report.html import paper as report_paper

LAYERS = [
    {"name": "encoder1_conv1", "kernel": "3 x 3", "output_shape": [160, 160, 64], "parameters": 36928,
     "receptive_field_px": 3},
]  # fmt: skip


class Reader(html.parser.HTMLParser):
    """Tables as rows of text, images, all text, and whether tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.rows, self.images, self.text, self.open = [], [], "", []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(section):
    reader = Reader()
    reader.feed(section["html"])
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def run(made, beyond, tmp_path_factory):
    """The made run with secondary metrics and its figures."""
    path = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(made.workdir, path)
    run = workdir.read_run(path)
    run.results["beyond"] = beyond
    run.results["layers"] = LAYERS
    paper_figures.write_paper_figures(run)
    secondary_figures.write_secondary_figures(run)
    return run


def test_titles_and_table_6(run):
    sections = {s["id"]: s for s in report_paper.sections(run)}
    assert [s["title"] for s in sections.values()] == [
        "Comparison with the paper", "Figures of the paper", "Secondary metrics", "Scoring conventions",
    ]  # fmt: skip
    section = read(sections["paper-tables"])
    mean = next(row for row in section.rows if row[:2] == ["U-Net", "mean"])
    # PROTOCOL, Table 6.
    assert mean[3::2] == ["0.218", "0.315", "97.3 %", "50.4 %"]
    assert mean[4] == f"{run.results['conventions']['paper']['dice']['mean']:.3f}"
    assert ["DDANet 2024", "0.712", "-", "Folds over slices: subjects leak, not comparable."] in section.rows


def test_figures_are_embedded(run):
    sections = report_paper.sections(run)
    figures = read(sections[1])
    assert [i["alt"] for i in figures.images] == ["Figure 2", "Figure S1", "Figure 5"]
    assert "Figure 4: not drawn" in figures.text  # there are no probabilities
    assert ["encoder1_conv1", "3 x 3", "160 x 160 x 64", "36,928", "3"] in figures.rows
    for section in sections:
        assert all(i["src"].startswith("data:image/png;base64,") for i in read(section).images)
        assert "http" not in section["html"]


def test_secondary_metrics_count_infinite_distances(run):
    section = read(report_paper.sections(run)[2])
    surface = run.results["beyond"]["surface"]
    row = next(row for row in section.rows if row[0].startswith("HD95"))
    # Subject 52 has a hemorrhage and an empty prediction.
    assert surface["hd95_mm"]["infinite"] == 1
    assert row[-1] == "1"
    for heading in ("Lesion detection", "Volume agreement", "Calibration", "Lesion size", "Seams between patches"):
        assert heading in section.text
    assert f"area under the ROC curve (AUC) {run.results['beyond']['slice_roc']['area']:.3f}" in section.text


def test_every_convention_is_compared_with_an_empty_mask(run):
    section = read(report_paper.sections(run)[-1])
    cells = [row for row in section.rows if row[0] == "U-Net"]
    rows = {row[1].split(" ")[0]: row for row in cells}
    assert set(rows) == set(run.results["conventions"])
    assert rows["paper"][2] == f"{run.results['conventions']['paper']['dice']['mean']:.3f}"
    assert rows["paper"][-1] == "0.000"
    assert "(inflated, demonstration only)" in rows["all_slices"][1]
    assert float(rows["all_slices"][-1]) > 0
    definitions = dict(row for row in section.rows if len(row) == 2)
    assert all(definitions[name].endswith(".") for name in run.results["conventions"])


def test_without_secondary_metrics_and_figures(made, tmp_path):
    run = workdir.read_run(made.workdir)
    bare = workdir.Run(tmp_path, {}, {}, {run.name: run.results}, {}, [], run.finished)
    sections = report_paper.sections(bare)
    assert [s["id"] for s in sections] == ["paper-tables", "paper-figures", "conventions"]
    assert sections[1]["html"].count("not drawn") == 4


def test_text_from_the_data_is_escaped(run, made):
    results = copy.deepcopy(run.results)
    results["layers"][0]["name"] = made.nasty
    results["by_subtype"] = {made.nasty: next(iter(results["by_subtype"].values()))}
    nasty = workdir.Run(run.path, {}, {}, {made.nasty: results}, {}, [], run.finished)
    for section in report_paper.sections(nasty):
        assert "<script" not in section["html"]
        assert section["html"] == markupsafe.escape(section["html"])  # not escaped twice


def test_the_coverage_of_volume_intervals_is_reported(run):
    results = copy.deepcopy(run.results)
    results["beyond"]["volume_interval"] = {
        **volume_interval.observed_coverage([1.0, 9.0], [one_interval(0.0, 2.0), one_interval(4.0, 8.0)]),
        "calibrated_on": 40,
        "reason": "7 calibration subjects",
    }
    text = read(report_paper.sections(workdir.Run(run.path, {}, {}, {"U-Net": results}, {}, [], run.finished))[2]).text
    assert "Intervals of 90 %, calibrated on 40 validation scans, hold the true volume of 1 of 2 test scans" in text
    assert "50.0 % (95 % confidence interval 9.5 % to 90.5 %). Width: median 3.0 mL, mean 3.0 mL." in text
    assert "Scans without an interval of the volume: 7 calibration subjects." in text


def one_interval(low, high):
    return {"low": low, "high": high, "coverage": 0.9, "calibrated_on": 40}


def test_explains_metrics_that_cannot_be_computed(run):
    poor = copy.deepcopy(run.results)
    poor["beyond"]["volume_agreement"] |= {"limits_ml": None, "sd_ml": None, "n": 1}
    poor["beyond"]["seams"] = {"across": None, "elsewhere": 0.1, "n_across": 0, "n_elsewhere": 9}
    poor["beyond"]["false_positives_to_bone"]["share"] = [0.0]
    poor["beyond"]["slice_roc"] = None
    bare = workdir.Run(run.path, {}, {}, {"U-Net": poor}, {}, [], run.finished)
    text = read(report_paper.sections(bare)[2]).text
    assert "too few scans for limits of agreement" in text
    assert "no pairs of pixels" in text
    assert "no false positives inside the skull" in text
    assert "Slice-level detection" not in text
