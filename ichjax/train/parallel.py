"""One step on every device there is: jit with shardings (the default), pmap, or shard_map.

The batch is split over the devices, the state is on each of them whole, and its buffers are donated.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ichjax.errors import InputError

AXIS = "data"


def make_mesh(devices: list | None = None) -> Mesh:
    """A line of devices, all there are by default."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Raises InputError unless a batch splits evenly over the devices."""
    if batch_size % mesh.size:
        raise InputError(f"config.train.batch_size is {batch_size}; expected a multiple of the {mesh.size} devices")


def compile_step(make_step: Callable, *, mode: str, mesh: Mesh) -> Callable:
    """Compiles step(state, batch) -> (state, metrics) for a mesh.

    Args:
      make_step: make_step(axis=NAME or None) -> step, see `step.make_train_step`.
      mode: 'jit', 'pmap' or 'shard_map'.
      mesh: from `make_mesh`.

    Returns:
      A function of the replicated state and a batch from `place`; the state's buffers are donated.
    """
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    if mode == "jit":
        whole, parts = NamedSharding(mesh, everywhere), NamedSharding(mesh, split)
        return jax.jit(
            make_step(axis=None), in_shardings=(whole, parts), out_shardings=(whole, whole), donate_argnums=0
        )
    if mode == "shard_map":
        # Without the check of varying axes, averaging gradients by hand is right here as it is under pmap.
        mapped = jax.shard_map(
            make_step(axis=AXIS),
            mesh=mesh,
            in_specs=(everywhere, split),
            out_specs=(everywhere, everywhere),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=0)
    if mode == "pmap":
        mapped = jax.pmap(
            make_step(axis=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
            donate_argnums=0,
            devices=list(mesh.devices.flat),
        )
        fold = lambda x: x.reshape(mesh.size, x.shape[0] // mesh.size, *x.shape[1:])  # noqa: E731
        return lambda state, batch: mapped(state, jax.tree.map(fold, batch))
    raise InputError(f"config.parallel is {mode!r}; expected 'jit', 'pmap' or 'shard_map'")


def replicate(tree, mesh: Mesh):
    """Puts a tree of arrays on every device, whole."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def place(batch: dict, *, mode: str, mesh: Mesh) -> dict:
    """Starts the copy of a host batch to the devices; pmap splits host arrays itself."""
    if mode == "pmap":
        return {name: np.asarray(array) for name, array in batch.items()}
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec(AXIS)))


def prefetch(batches: Iterator[dict], *, mode: str, mesh: Mesh, ahead: int = 2) -> Iterator[dict]:
    """Keeps `ahead` batches on their way to the devices while the current one is worked on."""
    queue = []
    for batch in batches:
        queue.append(place(batch, mode=mode, mesh=mesh))
        if len(queue) > ahead:
            yield queue.pop(0)
    yield from queue
