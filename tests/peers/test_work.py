"""The benchmarked tasks give the same results in ichjax, Keras and PyTorch."""

import numpy as np
import pytest

from benchmarks import our_work

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(params=["keras_reference", "torch_reference"])
def peer(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("more", [{}, {"one_at_a_time": True, "from_disk": True}])
def test_predictions_give_the_same_mask(peer, scan_task, more):
    task, expected = scan_task
    result = peer.predict_scan(**task, **more)()
    assert result["pixels"] == expected["pixels"]
    np.testing.assert_allclose(result["volume_ml"], expected["volume_ml"], rtol=1e-5)


def test_epochs_train_on_the_same_number_of_patches(peer, tiny_root):
    task = {"root": str(tiny_root), "width": 4, "side": 16, "stride": 8, "batch": 4, "examples": 14}
    ours, theirs = our_work.train_epoch(**task)(), peer.train_epoch(**task)()
    assert ours["patches"] == theirs["patches"] == 12
    assert np.isfinite([ours["loss"], theirs["loss"]]).all()
