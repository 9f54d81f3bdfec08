"""Tables of the lesion-wise scores: values, units and penalty in words; runs of older versions are skipped."""

from ichjax.report.tables import lesion_wise


def mean(value, n):
    return {"mean": value, "ci95": [0.9 * value, 1.1 * value], "n": n}


def rate(value, n):
    return {"value": value, "ci95": None, "n": n}


SCORES = {
    "f1": rate(0.8, 30),
    "f1_per_scan": mean(0.7, 8),
    "recall": rate(0.75, 16),
    "precision": rate(6 / 7, 14),
    "recall_under_1_ml": rate(None, 0),
    "hd95_mm": {
        "hemorrhage": mean(50.0, 5),
        "all_scans": mean(80.0, 9),
        "misses": 1,
        "false_alarms": 2,
        "penalty_mm": [301.2, 310.0],
    },
    "subjects": [{"subject": 49, "f1": None, "hd95_mm": 0.0}],
}


def test_records_and_words():
    methods = {"A": {"lesion_wise": SCORES}, "old": {}}
    records = {record["score"]: record for record in lesion_wise.lesion_wise_records(methods)}
    assert list(records) == list(lesion_wise.LESION_WISE_TITLES)
    assert len({tuple(record) for record in records.values()}) == 1
    assert lesion_wise.score_texts(records["f1"], "mm") == ("0.800", "", "30 lesions")
    assert lesion_wise.score_texts(records["recall_under_1_ml"], "mm") == ("-", "", "0 lesions")
    assert lesion_wise.score_texts(records["hd95_hemorrhage"], "nominal mm") == (
        "50.0 nominal mm",
        "45.0 to 55.0",
        "5 scans",
    )
    assert (records["hd95_hemorrhage"]["misses"], records["hd95_hemorrhage"]["false_alarms"]) == (1, 0)
    assert lesion_wise.penalty_text(records["hd95_all_scans"], "mm") == "3 scans with a penalty of 301 to 310 mm"
    nothing = {**records["hd95_all_scans"], "misses": 0, "false_alarms": 0}
    assert lesion_wise.penalty_text(nothing, "mm") == "no scan with a penalty"
    assert lesion_wise.lesion_wise_scans(methods) == [{"method": "A", "subject": 49, "f1": None, "hd95_mm": 0.0}]
    (text,) = lesion_wise.lesion_wise_paragraphs(methods)
    assert text == (
        "A, lesion-wise: Lesion F1 0.800; Lesion recall 0.750; Lesion recall under 1 mL -; HD95, all scans 80.0 mm "
        "(3 scans with a penalty of 301 to 310 mm)."
    )
