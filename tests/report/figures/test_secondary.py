import copy
import io

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from ichjax.report import workdir
from ichjax.report.figures import secondary as secondary_figures
from ichjax.report.figures import style


def detection(positive, scores):
    """As results['beyond']['slice_roc'], by scikit-learn."""
    false_rate, sensitivity, _ = metrics.roc_curve(positive, scores)
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    return {
        "roc": np.c_[false_rate, sensitivity].tolist(),
        "area": float(metrics.roc_auc_score(positive, scores)),
        "precision_recall": np.c_[recall, precision].tolist(),
        "average_precision": float(metrics.average_precision_score(positive, scores)),
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
    }


@pytest.fixture(scope="session")
def beyond():
    """A small results['beyond'] with all its parts."""
    rng = np.random.default_rng(0)
    positive = rng.random(60) < 0.4
    summary = {"mean": 0.5, "std": 0.1, "min": 0.2, "max": 0.8, "ci95": None, "n": 4, "unit": "subjects"}
    side = {"slices": 1, "dice": 0.0, "detected": 0.0}
    return {
        "surface": {"tolerance_mm": 2.0, "dice": summary, "hd95_mm": {**summary, "median": 0.5, "infinite": 3}},
        "slice_roc": detection(positive, positive + rng.normal(0, 0.7, 60)),
        "scan_roc": None,
        "froc": {
            "curve": [[0.0, 0.0], [0.5, 0.25], [3.0, 0.75]],
            "at": {"0.5": 0.25, "1": 0.25, "2": 0.25, "4": 0.75},
            "lesions": 4, "found": 3, "false_positives": 12,
        },
        "volume_agreement": {
            "bias_ml": 1.0, "sd_ml": 1.0, "limits_ml": [-0.96, 2.96], "concordance": 0.9, "n": 3,
            "points": [[1.0, 1.0], [5.0, 6.0], [20.0, 22.0]],
        },
        "calibration": {
            "bins": [
                {"low": 0.0, "high": 0.5, "n": 1000, "probability": 0.2, "frequency": 0.1},
                {"low": 0.5, "high": 1.0, "n": 0, "probability": None, "frequency": None},
            ],
            "expected_calibration_error": 0.1,
        },
        "lesion_size": {
            "bins": [
                {"low_ml": 0.05, "high_ml": 1.0, "n": 2, "found": 1, "dice": 0.2},
                {"low_ml": 1.0, "high_ml": 5.0, "n": 0, "found": 0, "dice": None},
                {"low_ml": 5.0, "high_ml": None, "n": 1, "found": 1, "dice": 0.9},
            ],
            "points": [[0.06, 0.0], [0.5, 0.4], [30.0, 0.9]],
        },
        "diameter": {
            "line_mm": 10.0, "below": side, "above": {**side, "slices": 2, "dice": 0.8, "detected": 1.0},
            "points": [[5.0, 0.0, False], [20.0, 0.7, True], [40.0, 0.9, True]],
        },
        "false_positives_to_bone": {"edges_mm": [0, 2, 4, 64], "share": [0.6, 0.3, 0.1],
                                    "share_of_brain": [0.1, 0.1, 0.8]},
        "seams": {"across": 0.03, "elsewhere": 0.02, "n_across": 1234, "n_elsewhere": 56789},
    }  # fmt: skip


NAMES = {
    "roc_pr", "froc", "bland_altman", "reliability", "lesion_size", "dice_by_diameter", "false_positives_to_bone",
}  # fmt: skip


def figure_texts(figure):
    """Every text of a figure, legends included."""
    texts = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    for axes in figure.axes:
        texts += [t.get_text() for t in axes.texts] + [axes.get_title(loc) for loc in ("left", "center")]
        texts += [axes.get_xlabel(), axes.get_ylabel()]
        if axes.get_legend():
            texts += [t.get_text() for t in axes.get_legend().get_texts()]
    return "\n".join(texts)


def test_one_figure_per_metric(made, beyond, tmp_path):
    run = workdir.read_run(made.workdir)
    results = {**run.results, "beyond": beyond}
    target = workdir.Run(tmp_path, {}, {}, {"U-Net": results}, {}, [], run.finished)
    written = secondary_figures.write_secondary_figures(target)
    assert {p.name for p in written} == {f"{name}.png" for name in NAMES}
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 300


def test_without_secondary_metrics_nothing_is_drawn(made, tmp_path):
    run = workdir.read_run(made.workdir)
    target = workdir.Run(tmp_path, {}, {}, run.methods, {}, [], run.finished)
    assert secondary_figures.write_secondary_figures(target) == []
    assert list(tmp_path.iterdir()) == []


def test_parts_without_data_are_skipped(beyond):
    poor = copy.deepcopy(beyond)
    poor |= {"slice_roc": None, "calibration": None}
    poor["froc"] |= {"curve": [], "at": dict.fromkeys(("0.5", "1", "2", "4")), "lesions": 0, "found": 0}
    poor["volume_agreement"] |= {"limits_ml": None, "sd_ml": None, "n": 1, "points": [[1.0, 2.0]]}
    poor["lesion_size"]["points"] = []
    poor["diameter"]["points"] = []
    poor["false_positives_to_bone"] |= {"share": [0.0, 0.0, 0.0]}
    assert secondary_figures.draw(poor) == {}


def test_figures_show_their_numbers_and_units(beyond):
    drawn = {name: figure_texts(figure) for name, figure in secondary_figures.draw(beyond).items()}
    assert f"AUC {beyond['slice_roc']['area']:.3f}" in drawn["roc_pr"]
    assert f"average precision {beyond['slice_roc']['average_precision']:.3f}" in drawn["roc_pr"]
    assert all(f"{n}/{of}" in drawn["lesion_size"] for n, of in ((1, 2), (1, 1)))
    assert "no overlap, Dice 0 (1)" in drawn["lesion_size"]
    assert all(text in drawn["bland_altman"] for text in ("bias +1.0 mL", "upper limit +3.0 mL", "lower limit -1.0 mL"))
    assert "ECE 0.100" in drawn["reliability"]
    assert "below 10 mm: n = 1, mean Dice 0.000, predicted positive 0.0 %" in drawn["dice_by_diameter"]
    for name, unit in (("lesion_size", "(mL)"), ("dice_by_diameter", "(mm)"), ("false_positives_to_bone", "(mm)")):
        assert unit in drawn[name]


def test_the_roc_curve_is_drawn_from_its_points(beyond):
    axes = secondary_figures.roc_pr({"slices": beyond["slice_roc"], "scans": None}).axes[0]
    drawn = axes.lines[1].get_xydata()
    np.testing.assert_allclose(drawn, beyond["slice_roc"]["roc"])
    # The area under what is drawn is scikit-learn's.
    assert metrics.auc(*drawn.T) == pytest.approx(beyond["slice_roc"]["area"], abs=1e-12)


def test_same_figure_gives_the_same_bytes(beyond):
    a, b = (style.png(secondary_figures.froc(beyond["froc"])) for _ in range(2))
    assert a == b
    assert Image.open(io.BytesIO(a)).size
