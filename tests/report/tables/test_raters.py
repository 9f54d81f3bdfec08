"""Tables of the scores against several raters, of methods that were scored on different raters."""

import numpy as np

from ichjax.metrics.raters import score_raters, summarize_raters
from ichjax.report.tables import raters


def results_of(*numbers):
    """results.json, as far as the tables need it, of one scan with these raters, each of whom marks one more voxel."""
    prediction = np.arange(10).reshape(1, 2, 5) < 4
    masks = {number: np.arange(10).reshape(1, 2, 5) < n for n, number in enumerate(numbers, start=1)}
    return {"raters": summarize_raters({49: score_raters(masks, prediction)})}


def test_records_of_methods_with_different_raters_have_the_same_columns():
    methods = {"A": results_of(1, 2), "B": results_of(2, 10), "old": {}}
    scans = raters.rater_scans(methods)
    assert [(scan["method"], scan["subject"]) for scan in scans] == [("A", 49), ("B", 49)]
    columns = [key for key in scans[0] if key.startswith("dice_rater")]
    assert columns == ["dice_rater_1", "dice_rater_2", "dice_rater_10"]
    assert list(scans[0]) == list(scans[1])
    assert scans[0]["dice_rater_1"] == scans[1]["dice_rater_2"] == 2 * 1 / 5
    assert (scans[0]["dice_rater_10"], scans[1]["dice_rater_1"]) == (None, None)
    records = raters.rater_records(methods)
    assert [r["score"] for r in records if r["method"] == "B"][:2] == ["Dice, rater 2", "Dice, rater 10"]
    assert len({tuple(record) for record in records}) == 1
    assert len(raters.rater_paragraphs(methods)) == 2
