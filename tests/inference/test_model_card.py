"""The model card's table of scores, with any number of subjects."""

import json

import pytest

from ichjax.inference import model_card

RECORD = {
    "takes": "HU", "gives": "a mask", "pixel_mm": [0.5, 0.5], "threshold": 0.5, "threshold_chosen_on": "nothing",
    "closing_px": 0, "opening_px": 0, "folds": [0, 1], "config_digest": "0123456789abcdef",
}  # fmt: skip


@pytest.mark.parametrize(
    ("dice", "free", "rows"),
    [
        (
            {"mean": 0.5, "ci95": [0.25, 0.75], "n": 9},
            {"n": 8, "false_positive_ml": 2.0, "false_positive_ml_ci95": [1.0, 3.25]},
            ("| 0.500 | 0.250 to 0.750 | 9 |", "| 2.0 | 1.0 to 3.2 | 8 |"),
        ),
        (  # too few for an interval
            {"mean": 0.5, "ci95": None, "n": 3},
            {"n": 2, "false_positive_ml": 2.0, "false_positive_ml_ci95": None},
            ("| 0.500 | - | 3 |", "| 2.0 | - | 2 |"),
        ),
        ({"mean": None, "ci95": None, "n": 0}, {"n": 0}, ("| - | - | 0 |", None)),
    ],
)
def test_scores_that_do_not_exist_are_dashes(tmp_path, dice, free, rows):
    results = {"conventions": {"paper": {"dice": dice, "jaccard": dice}}, "hemorrhage_free": free}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "results.json").write_text(json.dumps(results))
    lines = model_card.format_card(tmp_path, RECORD, method="A method").splitlines()
    assert f"| Dice, the paper's convention {rows[0]}" in lines
    assert f"| Jaccard, the paper's convention {rows[0]}" in lines
    volumes = [line for line in lines if line.startswith("| false positives without a hemorrhage, mL |")]
    assert volumes == ([f"| false positives without a hemorrhage, mL {rows[1]}"] if rows[1] else [])


def test_gates_that_the_program_lacks_are_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "drops lesions" not in model_card.format_card(tmp_path, RECORD, method="A U-Net")
    gates = {"find_threshold": 0.8, "min_lesion_ml": 0.25, "min_lesion_slices": 2}
    card = model_card.format_card(tmp_path, {**RECORD, "gates_not_applied": gates}, method="A U-Net")
    assert "by find_threshold 0.8, min_lesion_ml 0.25, min_lesion_slices 2; this program does not." in card
