"""The contestant whose scans are in the device's memory does the same work."""

import pytest

from benchmarks import our_work, train_step
from ichjax.data import loader


@pytest.mark.faults
def test_an_epoch_on_resident_scans_has_the_same_loss_and_reads_no_pixels(tiny_root, monkeypatch):
    task = {"root": str(tiny_root), "width": 1, "side": 16, "stride": 8, "batch": 4, "examples": 9}
    make = our_work.paper_config
    monkeypatch.setattr(our_work, "paper_config", lambda *sizes, **fields: make(*sizes, **fields, **{"model.depth": 1}))
    work = our_work.train_epoch(**task)
    expected = [work() for _ in range(2)]
    module, _, options = train_step.PEERS[train_step.RESIDENT]
    assert module == "our_work"
    monkeypatch.setattr(loader.PatchReader, "read", None)
    work = our_work.train_epoch(**task, **options)
    for one in expected:
        ours = work()
        assert (ours["patches"], ours["loss"]) == (8, one["loss"])
    assert expected[0]["loss"] != expected[1]["loss"]
