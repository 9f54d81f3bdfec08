"""Our shared steps of the classical methods agree with NumPy and SciPy on the benchmark's example."""

import jax
import numpy as np
import pytest

from benchmarks import classical, classical_peer

SIZES = {"slices": 3, "side": 48}
OPTIONS = {"drlse": {"steps": 3, "alf": classical.ALF}, "chan_vese": {"steps": 3, "nu": classical.NU}}
TOLERANCE = {"drlse": 0.05, "chan_vese": 1e-4, "spatial_fuzzy_clusters": 0.02, "local_moments": 0.02}


@pytest.mark.parametrize("task", classical_peer.TASKS)
def test_results_agree(task):
    arguments = classical.inputs(task, **SIZES)
    ours = jax.jit(classical.make_program(task, steps=3))(*arguments)
    theirs = classical_peer.TASKS[task](*arguments, **OPTIONS.get(task, {}))
    for one, other in zip(jax.tree.leaves(ours), theirs if isinstance(theirs, tuple) else [theirs], strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE[task], err_msg=task)
    classical.require_close(classical.summary(task, ours), classical.summary(task, theirs), task)


def test_contestants_that_disagree_are_refused():
    with pytest.raises(RuntimeError, match="drlse: inside_px is 50 in NumPy"):
        classical.require_close({"inside_px": 100}, {"inside_px": 50}, "drlse")
