"""A fold of a very small network on a few tiny scans."""

import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.models import unet
from ichjax.train import loop


@pytest.fixture(scope="module")
def parts(tiny_root):
    """(training scans, validation scans)."""
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    return [scan for scan in scans if scan.number in (49, 50, 51)], [scan for scan in scans if scan.number in (52, 54)]


@pytest.fixture(scope="module")
def train(parts, tiny_config):
    """train(folder, **fields): a fold of a very small network."""

    def run(folder, **fields):
        small = {"model.base_width": 2, "model.depth": 1, "model.norm": "none", "model.dropout": 0.3}
        config = tiny_config(**small | fields)
        return loop.train_fold(config, unet.network_from_config(config), *parts, folder=folder, fold=0)

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """(the folder of an undisturbed run, its result)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder)
