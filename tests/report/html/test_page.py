"""The report, parsed as a browser would, against results.json and the masks."""

import base64
import html.parser
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ichjax.report import workdir
from ichjax.report.figures import case as cases
from ichjax.report.html import page as report_page
from ichjax.report.html import rows as report_rows
from ichjax.report.html import viewer
from ichjax.report.tables import summary as summary_tables


class Page(html.parser.HTMLParser):
    """Tags with attributes, tables as lists of rows of cell texts by section, scripts, and the text shown."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.scripts, self.shown = [], {}, [], []
        self._section, self._open = None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self._open.append(tag)
        if tag == "section":
            self._section = attrs["id"]
        elif tag == "table":
            self.tables.setdefault(self._section, []).append([])
        elif tag == "tr":
            self.tables[self._section][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self._section][-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")
        if tag in ("meta", "img", "input", "path", "rect", "line", "br"):
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.shown.append(data)
            if {"td", "th"} & set(self._open) and "small" not in self._open:
                self.tables[self._section][-1][-1][-1] += data

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def named(self, tag, **attrs):
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in attrs.items())]


def write(folder):
    """The text of the report of a work directory."""
    return report_page.write_report(workdir.read_run(folder)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(made):
    return write(made.workdir)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the work directory, to modify."""
    shutil.copytree(made.workdir, tmp_path / "run")
    return tmp_path / "run"


def test_report_refers_to_nothing_outside(text, page):
    assert "http:" not in text
    assert "https:" not in text
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name, value[:80])
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
    assert "@import" not in text
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval|import)\s*\(", text)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"][1:] for attrs in page.named("a")} <= ids


def test_data_are_escaped(made, text, page):
    assert "<script>alert" not in text
    assert len(page.scripts) == 2  # the viewer's data and its program
    shown = "".join(page.shown)
    assert shown.count(made.nasty) >= 4  # a setting, a fold's note, what the threshold was chosen on, a data note
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)


def test_the_folder_of_the_data_set_is_not_shown(text, made):
    assert "secret-hospital" not in text
    assert str(made.workdir.parent) not in text


def test_header_describes_the_run(page):
    shown = " ".join("".join(page.shown).split())
    assert "Research use only" in shown
    assert "Synthetic data: no patient was scanned" in shown
    assert "on 5 synthetic subjects, 3 of them with a hemorrhage, in 5 of 25 slices." in shown
    assert "abc123" in shown


def test_summary_equals_the_results(made, page):
    head, *rows = page.tables["summary"][0]
    assert len(head) == 1 + len(summary_tables.SUMMARY_COLUMNS)
    rows = {row[0]: row[1:] for row in rows}
    for name, results in workdir.read_run(made.workdir).methods.items():
        conventions, free = results["conventions"], results["hemorrhage_free"]
        detection = results["reported_slice_detection"]
        assert rows[name] == [
            f"{conventions['paper']['dice']['mean']:.3f}",
            f"{conventions['paper']['jaccard']['mean']:.3f}",
            f"{conventions['volume']['dice']['mean']:.3f}",
            f"{100 * detection['sensitivity']:.1f} %",
            f"{100 * detection['specificity']:.1f} %",
            f"{100 * free['false_alarm_rate']:.1f} %",
            f"{free['false_positive_ml']:.2f} mL",
        ]
    assert rows["Empty mask"][:4] == ["0.000", "0.000", "0.000", "0.0 %"]
    assert rows["Paper: U-Net"][:2] == ["0.315", "0.218"]
    assert rows["Paper: U-Net"][3:5] == ["97.3 %", "50.4 %"]


def test_conventions_are_defined(made, page):
    shown = " ".join("".join(page.shown).split())
    for sentence in made.results["conventions_in_words"].values():
        assert sentence in shown


def test_slice_detection_equals_the_results(made, page):
    rows = page.tables["detection"][0][2:]
    first, second = rows[:2]
    detection = made.results["slice_detection"]
    rates = ("sensitivity", "specificity", "accuracy")
    assert first[:2] == ["U-Net", "0.5 (reported)"]
    assert first[2:] == [
        *(f"{100 * detection[0][rate]:.1f} %" for rate in rates),
        *(f"{100 * detection[0]['pooled'][rate]:.1f} %" for rate in rates),
        *("97.2 %", "50.4 %", "56.6 %"),
    ]
    assert second[0] == "0.9"
    assert second[-3:] == ["63.1 %", "88.6 %", "87.0 %"]
    assert rows[2][-3:] == ["", "", ""]  # the paper's Table 7 is not the threshold's


def test_groups_equal_the_results(made, page):
    subtypes, ages = page.tables["groups"]
    rows = {row[0]: row[1:] for row in [*subtypes[2:], *ages[2:]]}
    sdh = made.results["by_subtype"]["SDH"]
    assert rows["SDH"][:2] == [f"{sdh['subjects']['mean']:.3f}", f"{sdh['slices']['mean']:.3f}"]
    assert rows["SDH"][-1] == "0.520"
    assert rows["EDH"][:2] == ["-", "-"]
    assert rows["18 years and over"][-1] == "0.309"


def test_subjects_equal_the_results(made, page):
    head, *rows = page.tables["subjects"][0]
    rows = {int(row[0]): dict(zip(head, row, strict=True)) for row in rows}
    assert list(rows)[:3] == [52, 50, 49]  # worst Dice first, those without a score last
    for s in made.results["subjects"]:
        row = rows[s["subject"]]
        assert row["Dice"] == ("-" if s["dice"] is None else f"{s['dice']:.3f}")
        assert row["Jaccard"] == ("-" if s["jaccard"] is None else f"{s['jaccard']:.3f}")
        assert (row["Truth, mL"], row["Predicted, mL"]) == (f"{s['truth_ml']:.2f}", f"{s['predicted_ml']:.2f}")
        assert row["Sub-types"] == (" ".join(s["subtypes"]) or "-")


def test_folds(page):
    rows = page.tables["folds"][0][1:]
    assert rows[0] == ["0", "1", "1", "2", "50, 52"]
    assert rows[1] == ["1", "1", "1", "3", "49, 51, 53"]


def test_one_slider_per_chosen_subject(made, page):
    chosen = [number for _, number in workdir.choose_subjects(made.results)]
    sliders = page.named("input", type="range")
    assert [slider["aria-label"] for slider in sliders] == [f"slice of subject {number}" for number in chosen]
    assert {slider["max"] for slider in sliders} == {"5"}
    for name in ("truth", "prediction"):
        assert len(page.named("input", type="checkbox", **{"data-show": name})) == len(chosen)


def filled(path, height, width):
    """The mask inside an SVG path of M, h, v and z, by the even-odd rule."""
    mask = np.zeros((height, width), bool)
    for x, y, steps in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(x), int(y)
        start = y
        moves = [(kind, int(step)) for kind, step in re.findall(r"([hv])(-?\d+)", steps)]
        total = sum(step for kind, step in moves if kind == "v")
        moves += [("v", -total)]  # z goes back to the start
        for kind, step in moves:
            if kind == "h":
                x += step
            else:
                mask[min(y, y + step) : max(y, y + step), x:] ^= True
                y += step
        assert y == start
    return mask


def test_viewer_data_equal_the_masks_and_the_results(made, page):
    data = json.loads(page.scripts[0])
    by_number = {s["subject"]: s for s in made.results["subjects"]}
    for v in data:
        number = v["subject"]
        s = by_number[number]
        assert v["truth_ml"] == pytest.approx(s["truth_ml"])
        assert v["predicted_ml"] == pytest.approx(s["predicted_ml"])
        assert v["dice"] == (None if s["dice"] is None else pytest.approx(s["dice"]))
        assert v["volume_dice"] == (None if s["volume_dice"] is None else pytest.approx(s["volume_dice"]))
        assert sum(one["truth_ml"] for one in v["slices"]) == pytest.approx(s["truth_ml"])
        assert v["aspect"] == pytest.approx(v["width"] * 1.5 / (v["height"] * 1.25))
        for d, one in enumerate(v["slices"]):
            # The head fills the frame, so nothing is cropped.
            assert (filled(one["truth"], v["height"], v["width"]) == made.truth[number][d]).all()
            assert (filled(one["prediction"], v["height"], v["width"]) == made.prediction[number][d]).all()
            kind, _, encoded = one["image"].partition(",")
            image = Image.open(io.BytesIO(base64.b64decode(encoded)))
            assert (kind, image.mode, image.size) == ("data:image/png;base64", "L", (v["width"], v["height"]))
    best = data[0]
    assert (best["subject"], best["start"]) == (49, 1)


def test_images_shrink_until_they_fit(made, monkeypatch):
    run = workdir.read_run(made.workdir)
    case = cases.load_case(run, cases.open_dataset(run), 49)
    tried = []
    made_one = {"slices": [{"image": "x" * 100}]}
    monkeypatch.setattr(viewer, "viewer", lambda case, *, why, quality: tried.append(quality) or made_one)
    monkeypatch.setattr(viewer, "MAX_BYTES", 100)
    viewer.viewers([("why", case)])
    assert tried == [85]
    monkeypatch.setattr(viewer, "MAX_BYTES", 99)
    viewer.viewers([("why", case)])
    assert tried[1:] == list(viewer.QUALITIES)


def test_large_images_are_jpegs():
    image = np.tile(np.arange(300, dtype=np.uint8), (300, 1))
    uri = cases.encode(image, quality=85)
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert uri.startswith("data:image/jpeg")
    assert np.abs(back.astype(int) - image).mean() < 5


def test_without_the_data_set_only_the_slices_are_missing(copy, caplog):
    config = json.loads((copy / "config.json").read_text())
    config["data"]["root"] = str(copy / "gone")
    (copy / "config.json").write_text(json.dumps(config))
    page = Page(write(copy))
    assert not page.named("input", type="range")
    assert "No slices are shown: the data set is no longer where it was" in "".join(page.shown)
    assert len(page.tables["subjects"][0]) == 6
    assert "the report shows no slices" in caplog.text


def test_a_damaged_prediction_removes_only_its_own_viewer(copy, caplog):
    (copy / "predictions" / "050.nii.gz").write_bytes(b"damaged")
    page = Page(write(copy))
    assert len(page.named("input", type="range")) == 3
    assert "Subject 50 (median Dice)" in "".join(page.shown)
    assert "predictions/050.nii.gz" in caplog.text


def test_report_of_results_json_alone(made, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(made.results))
    page = Page(write(tmp_path))
    shown = "".join(page.shown)
    assert "No splits.json" in shown
    assert "no epochs are recorded" in shown
    assert "Synthetic data" not in shown
    assert [path.name for path in tmp_path.iterdir() if path.name != "results.json"] == ["report.html"]


def test_warns_of_a_collapse(copy):
    results = json.loads((copy / "results.json").read_text())
    assert workdir.collapsed_folds(results["subjects"]) == []
    for s in results["subjects"]:
        if s["fold"] == 0:
            s["predicted_ml"] = 0.0
    assert workdir.collapsed_folds(results["subjects"]) == [0]
    (copy / "results.json").write_text(json.dumps(results))
    page = Page(write(copy))
    assert "collapsed in fold 0" in "".join(page.shown)


def test_subjects_without_a_score_are_named(copy, page):
    assert "Not scored" not in "".join(page.shown)
    splits = json.loads((copy / "splits.json").read_text())
    splits["folds"][0]["test"] += [77, 60]
    (copy / "splits.json").write_text(json.dumps(splits))
    shown = "".join(Page(write(copy)).shown)
    assert "its fold is not finished: subjects 60, 77." in shown
    assert "every subject is scored" not in shown


def test_limitations_name_excluded_and_disagreeing_subjects(made):
    run = workdir.read_run(made.workdir)
    run.config["data"]["synthetic"] = False
    results = {
        **run.results,
        "left_out_of_paper": [70],
        "disagreements": {"mask_without_label": 2, "label_without_mask": 0, "subjects": [51, 60]},
    }
    run.methods["U-Net"] = results
    limits = report_page.render(run).partition('<section id="limits">')[2].partition("</section>")[0]
    assert "included everywhere else: subject 70." in limits
    assert "slices of subjects 51, 60: slices with a mask but no sub-type: 2;" in limits
    assert "synthetic" not in limits


def test_settings_omit_the_folder_of_the_data_set():
    fields = {"data": {"root": "/home/somebody", "folds": 5}, "windows": [[40, 120]], "x": None}
    assert report_rows.flatten(fields) == [("data.folds", "5"), ("windows", "[40, 120]"), ("x", "none")]
