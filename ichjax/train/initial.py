"""Initial weights of a run: random, or those of another run where names and shapes match (`config.init_from`)."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ichjax.config import Config
from ichjax.errors import InputError, first_line
from ichjax.train.state import TrainState

MAX_NAMES = 6  # listed in a message


def weights(config: Config, state: TrainState, say: Callable[[str], None], *, fold: int) -> TrainState:
    """The state of a fold with the weights at `config.init_from`, if set; reports which arrays matched.

    Only the network's parameters are taken; the optimizer, the schedule and the order of examples start afresh.

    Raises:
      InputError: there are no weights, they cannot be read, or none of them matches.
    """
    if not config.init_from:
        return state
    path = find(pathlib.Path(config.init_from), fold)
    theirs, ours = _by_name(read(path)), _by_name(state.params)
    matching = {name for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    if not matching:
        raise InputError(f"{path}: none of {len(theirs)} arrays fits this network; expected the same names and shapes")
    say(f"init_from {path}: {len(matching)} of {len(ours)} arrays loaded")
    other_shape = sorted(
        f"{name} {theirs[name].shape} there, {ours[name].shape} here"
        for name in (ours.keys() & theirs.keys()) - matching
    )
    for text, names in (
        ("not loaded, another shape", other_shape),
        ("not loaded, not there", sorted(ours.keys() - theirs.keys())),
        ("not used", sorted(theirs.keys() - ours.keys())),
    ):
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            say(f"init_from: {text}: {', '.join(names[:MAX_NAMES])}{more}")
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: theirs[_name(path)].astype(leaf.dtype) if _name(path) in matching else leaf, state.params
    )
    return state.replace(params=params)


def find(path: pathlib.Path, fold: int) -> pathlib.Path:
    """The weights in a run or in a fold, or `path` itself, if it holds weights.

    Of a run they are those of the fold of this number, which has the same test scans where the folds are the same;
    without it, of the first that is finished.

    Raises:
      InputError: there are none.
    """
    own = path / f"fold_{fold}" / "weights"
    for folder in (path, path / "weights", own, *sorted(path.glob("fold_*/weights"))):
        if (folder / "_METADATA").is_file():
            return folder
    raise InputError(f"{path}: no trained weights; expected a run of `train` or `crossval`, or a fold_K in one")


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Every array of saved weights, on the host, as nested dicts.

    Raises:
      InputError: they cannot be read.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.metadata(folder.resolve()).item_metadata.tree
            like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree, is_leaf=lambda x: hasattr(x, "shape"))
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
            return jax.device_get(checkpointer.restore(folder.resolve(), target))
    except Exception as error:  # orbax and tensorstore raise many types
        raise InputError(f"{folder}: the weights cannot be read ({first_line(error)})") from error


def _by_name(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{'encoder1_conv1/kernel': array}."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
