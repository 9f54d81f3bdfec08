"""results.json and scores.json hold exactly the keys and types of `metrics.records`, from the code that writes them."""

import collections.abc
import copy
import json
import pathlib
import types
import typing

import numpy as np
import pytest

from ichjax import config as configs
from ichjax.data.scan_cache import CachedScan
from ichjax.data.subject import Subject
from ichjax.errors import InputError
from ichjax.experiment import scoring
from ichjax.methods.base import PostProcess, Prediction
from ichjax.metrics import records
from ichjax.scan import volume

POST = PostProcess(0.5, (0.5, 0.7), 0, 0, "fixed beforehand")
ORIGIN = {"method": "made", "config_digest": "00", "versions": {"ichjax": "0"}, "devices": ["cpu"]}


def mismatches(value, expected, where="record"):
    """Where a value from JSON differs from an annotation."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if typing.is_typeddict(expected):
        hints = typing.get_type_hints(expected)
        if not isinstance(value, dict) or not expected.__required_keys__ <= value.keys() <= hints.keys():
            return [where]
        return [m for key, item in value.items() for m in mismatches(item, hints[key], f"{where}.{key}")]
    if origin is typing.Literal:
        return [] if value in arguments else [where]
    if origin in (typing.Union, types.UnionType):
        return [] if any(not mismatches(value, arm) for arm in arguments) else [where]
    if origin and not isinstance(value, origin):
        return [where]
    if origin in (dict, collections.abc.Mapping):
        pairs = [pair for key, item in value.items() for pair in ((key, arguments[0]), (item, arguments[1]))]
        return [m for item, kind in pairs for m in mismatches(item, kind, f"{where}[]")]
    if origin in (list, collections.abc.Sequence):
        return [m for item in value for m in mismatches(item, arguments[0], f"{where}[]")]
    return [] if isinstance(value, int | float if expected is float else expected) else [where]


def score_scan(number, *, hemorrhage=True, **fields):
    """The row of a scan of random blocks in a round head, [3, 40, 40] of 3 x 3 x 5 mm, after a round trip by JSON."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:40, :40] - 19.5
    plane = np.select([np.hypot(y, x) < 15, np.hypot(y, x) < 18], [35, 900], -1000)
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    head = volume.from_file_grid(np.repeat(plane[None], 3, axis=0).transpose(2, 1, 0), affine, name=f"{number:03d}")
    mask = np.zeros(head.shape, np.uint8)
    mask[1, 15:25, 12:24] = hemorrhage
    path, labels = pathlib.Path("scan.nii"), np.eye(5, dtype=bool)[[0, 1, 2]]
    subject = Subject(number, path, None, 12.0 + 4 * number, "F", labels, np.zeros(3, bool), None)
    scan = CachedScan(subject, head, mask, mask, labels, mask.sum(axis=(1, 2)), (), "", "")
    probability = np.where(rng.random(head.shape) < 0.1, 1.0, 0.8 * mask * rng.random()).astype(np.float32)
    options = {"thresholds": POST.all_thresholds, "fold": number % 2, "folder": None, "config": configs.default()}
    row = scoring.score_scan(scan, Prediction(probability, **fields), POST, seams=(16, 8), **options)
    return json.loads(json.dumps(row))


@pytest.fixture(scope="module")
def rows():
    """Twenty rows; every third scan has no hemorrhage, and one has scores of its own."""
    rng = np.random.default_rng(0)
    own = {"slice_scores": np.linspace(0, 1, 3), "subtype_scores": rng.random((3, 5))}
    own["scan_scores"] = np.array([np.nan, 0.1, 0.2, 0.3, 0.4, 0.9], np.float32)
    own["class_probability"] = rng.random((3, 40, 40, 6), np.float32)
    return [score_scan(n, hemorrhage=n % 3 > 0, **(own if n == 1 else {})) for n in range(20)]


@pytest.mark.parametrize("subjects", [1, 2, 20])
def test_scores_and_results_match_their_types(rows, subjects, tmp_path):
    for row in rows[:subjects]:
        assert not mismatches(row, records.ScoreRow)
    scores = scoring.results(configs.default(), rows[:subjects], thresholds=POST.all_thresholds, chosen_on="nothing")
    path = tmp_path / "results.json"
    scoring.write(path, {**ORIGIN, **scores}, unreadable=[99], rows=rows[:subjects])
    results = json.loads(path.read_text())
    assert not mismatches(results, records.Results)
    assert (results["schema"], next(iter(results)), results["left_out_unreadable"]) == (2, "schema", [99])
    assert ("subtype_roc" in results["beyond"]) == ("subtype_dice" in results) == (subjects > 1)
    older = {key: value for key, value in results.items() if key != "schema"}
    assert not mismatches(older, records.Results)


def test_own_scores_of_a_scan_are_those_of_its_row(rows):
    assert rows[1]["scan_scores"] == [None, *(pytest.approx(x) for x in (0.1, 0.2, 0.3, 0.4, 0.9))]
    assert rows[1]["details"]["scan_score"] == pytest.approx(0.9)  # its highest slice has 1
    assert "scan_scores" not in rows[2]
    assert rows[2]["details"]["scan_score"] == max(piece["score"] for piece in rows[2]["details"]["slices"])
    with pytest.raises(InputError, match="the scan's score is nan; expected a number"):
        score_scan(2, scan_scores=np.full(6, np.nan))


def test_a_missing_an_unknown_and_a_wrong_value_are_noticed(rows):
    assert not mismatches(rows[1], records.ScoreRow)
    for change in (lambda r: r.pop("main"), lambda r: r.update(mian=0), lambda r: r.update(fold="0")):
        broken = copy.deepcopy(rows[1])
        change(broken)
        assert mismatches(broken, records.ScoreRow)
    broken = copy.deepcopy(rows[1])
    broken["details"]["lesions"]["truth"][0]["found"] = "yes"
    assert mismatches(broken, records.ScoreRow) == ["record.details.lesions.truth[].found"]
