"""Where training starts from: fresh weights, or those of another run wherever names and shapes fit."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from ichjax.config import Config
from ichjax.errors import InputError, first_line
from ichjax.train.state import TrainState

SHOWN = 6  # names in a sentence


def weights(config: Config, state: TrainState, say: Callable[[str], None]) -> TrainState:
    """The state with the weights that `config.init_from` names put into it, saying what fitted and what did not.

    Only the network's parameters are taken; the optimizer, the schedule and the order of examples start fresh.

    Raises:
      InputError: there are no weights there, they cannot be read, or none of them fits.
    """
    if not config.init_from:
        return state
    place = find(pathlib.Path(config.init_from))
    there, here = _named(read(place)), _named(state.params)
    fits = {name for name in here if name in there and there[name].shape == here[name].shape}
    if not fits:
        raise InputError(f"{place}: none of its {len(there)} arrays fits this network; expected names and shapes alike")
    say(f"init_from {place}: {len(fits)} of {len(here)} arrays taken")
    unlike = (here.keys() & there.keys()) - fits
    other = sorted(f"{name} {there[name].shape} there, {here[name].shape} here" for name in unlike)
    for text, names in (
        ("left as they start, of another shape", other),
        ("left as they start, not there", sorted(here.keys() - there.keys())),
        ("not used", sorted(there.keys() - here.keys())),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            say(f"init_from: {text}: {', '.join(names[:SHOWN])}{more}")
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: there[_name(path)].astype(leaf.dtype) if _name(path) in fits else leaf, state.params
    )
    return state.replace(params=params)


def find(path: pathlib.Path) -> pathlib.Path:
    """The weights in a run (its first finished fold's), in a fold, or themselves.

    Raises:
      InputError: there are none.
    """
    for place in (path, path / "weights", *sorted(path.glob("fold_*/weights"))):
        if (place / "_METADATA").is_file():
            return place
    raise InputError(f"{path}: no trained weights; expected a run of `train` or `crossval`, or a fold_K in one")


def read(place: pathlib.Path) -> dict:
    """Every array of saved weights, on the host, as nested dicts.

    Raises:
      InputError: they cannot be read.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.metadata(place.resolve()).item_metadata.tree
            like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree, is_leaf=lambda x: hasattr(x, "shape"))
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
            return jax.device_get(checkpointer.restore(place.resolve(), target))
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise InputError(f"{place}: the weights cannot be read ({first_line(error)})") from error


def _named(tree: dict) -> dict[str, np.ndarray]:
    """{'encoder1_conv1/kernel': array}."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
