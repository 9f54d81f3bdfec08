"""The record of a run's own scans: kept once a fold has begun, whatever can be read later."""

import json

import pytest

from ichjax.experiment import seen_scans


@pytest.mark.parametrize(("begun", "first"), [(True, (0,)), (False, None)])
def test_a_scan_that_cannot_be_read_later_stays_known_once_a_fold_has_begun(tmp_path, begun, first):
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [{"test": [1]}, {"test": [2, 3]}]}))
    seen_scans.write(tmp_path, {"a": 1, "b": 2}, begun=False)
    seen_scans.write(tmp_path, {"b": 3, "c": 2}, begun=begun)
    seen = seen_scans.read(tmp_path).by_digest
    assert (seen.get("a"), seen["b"], seen["c"]) == (first, (1,), (1,))
