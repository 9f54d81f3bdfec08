"""A fold of a very small network on a few tiny scans, and steps of a network in any mode on any number of devices."""

import functools

import jax
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.models import unet
from ichjax.train import loop, parallel
from ichjax.train import step as steps


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


@pytest.fixture(scope="session")
def after_steps():
    """after_steps(start, batches, network, optimizer, settings, mode=, devices=): the state after all batches."""

    def run(start, batches, *made_of, mode, devices):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        step = parallel.compile_step(functools.partial(steps.make_train_step, *made_of), mode=mode, mesh=mesh)
        state = parallel.replicate(start, mesh)
        for batch in parallel.prefetch(iter(batches), mode=mode, mesh=mesh):
            state, _ = step(state, batch)
        return state

    return run
