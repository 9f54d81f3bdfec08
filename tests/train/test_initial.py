"""Starting from the weights of another run: matching arrays are loaded, others are named."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.train import initial
from ichjax.train import state as states

SMALL = {"patch.side": 8, "model.base_width": 2, "model.depth": 1, "model.norm": "none"}


@pytest.fixture(scope="module")
def there(tiny_config, tmp_path_factory):
    """(a run with one finished fold, its parameters)."""
    run = tmp_path_factory.mktemp("there")
    params = jax.tree.map(
        lambda x: np.asarray(x) + 1,
        states.create(unet.network_from_config(tiny_config(**SMALL)), tiny_config(**SMALL), fold=0).params,
    )
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((run / "fold_1" / "weights").resolve(), params)
    return run, params


@pytest.mark.parametrize("inside", ["", "fold_1", "fold_1/weights"])
def test_the_same_network_loads_every_array(there, tiny_config, inside):
    run, params = there
    lines = []
    config = tiny_config(**SMALL, init_from=str(run / inside))
    state = initial.weights(
        config,
        states.create(unet.network_from_config(config), config, fold=0),
        lines.append,
        fold=0,
    )
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    assert int(state.step) == 0
    count = len(jax.tree.leaves(params))
    assert len(lines) == 1
    assert lines[0].endswith(f"{count} of {count} arrays loaded")


def test_another_network_loads_matching_arrays_and_names_the_rest(there, tiny_config):
    run, params = there
    lines = []
    config = tiny_config(**{**SMALL, "model.norm": "group", "model.head": "paper"}, windows=((40.0, 80.0),) * 3,
                         init_from=str(run))  # fmt: skip
    fresh = states.create(unet.network_from_config(config), config, fold=0)
    state = initial.weights(config, fresh, lines.append, fold=0)
    np.testing.assert_array_equal(state.params["encoder1_conv2"]["kernel"], params["encoder1_conv2"]["kernel"])
    first = "encoder1_conv1"
    np.testing.assert_array_equal(state.params[first]["kernel"], fresh.params[first]["kernel"])
    np.testing.assert_array_equal(state.params[first]["bias"], params[first]["bias"])
    shapes = {key: tuple(tree[first]["kernel"].shape) for key, tree in (("there", params), ("here", fresh.params))}
    assert any(f"{first}/kernel {shapes['there']} there, {shapes['here']} here" in line for line in lines)
    assert any("not there: bottleneck_norm1/bias" in line for line in lines)


def test_missing_or_damaged_weights_are_an_input_error(tiny_config, tmp_path):
    with pytest.raises(InputError, match="no trained weights; expected a run"):
        initial.find(tmp_path, 0)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "_METADATA").write_text("{")
    with pytest.raises(InputError, match="the weights cannot be read"):
        initial.read(initial.find(tmp_path, 0))


def test_a_fold_starts_from_that_of_its_number(tmp_path):
    for fold in (1, 2, 3):
        (tmp_path / f"fold_{fold}" / "weights").mkdir(parents=True)
        (tmp_path / f"fold_{fold}" / "weights" / "_METADATA").write_text("{}")
    assert [initial.find(tmp_path, fold).parent.name for fold in range(4)] == ["fold_1", "fold_1", "fold_2", "fold_3"]
    assert initial.find(tmp_path / "fold_2", 3).parent.name == "fold_2"
