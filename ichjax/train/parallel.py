"""One step on every device there is: jit with shardings (the default), pmap, or shard_map.

The batch is split over the devices, the state is on each of them whole, and its buffers are donated.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ichjax import hosts, xla
from ichjax.errors import InputError

AXIS = "data"


def make_mesh(devices: list | None = None) -> Mesh:
    """A line of devices, all there are by default."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def check_batch(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raises InputError unless a batch splits evenly over the devices, and a device's share over its parts."""
    if batch_size % mesh.size:
        raise InputError(f"config.train.batch_size is {batch_size}; expected a multiple of the {mesh.size} devices")
    if accumulate < 1 or batch_size // mesh.size % accumulate:
        raise InputError(
            f"config.train.accumulate is {accumulate}; expected a divisor of {batch_size // mesh.size}, the examples "
            f"of a batch on each of {mesh.size} devices"
        )


def compile_step(make_step: Callable, *, mode: str, mesh: Mesh, grouped: bool = False) -> Callable:
    """Compiles step(state, batch) -> (state, metrics) for a mesh.

    Args:
      make_step: make_step(axis=NAME or None) -> step, see `step.make_train_step`.
      mode: 'jit', 'pmap' or 'shard_map'.
      mesh: from `make_mesh`.
      grouped: whether the step makes several updates a dispatch (`lax.scan`): its batch then holds several, stacked
        along a new first axis, and so do its metrics.

    Returns:
      A function of the replicated state and a batch from `place`, with `lower` as a jitted function has it; the
      state's buffers are donated.
    """
    everywhere, split = PartitionSpec(), _split(grouped)

    def step(axis):
        one = make_step(axis=axis)
        return (lambda state, batches: jax.lax.scan(one, state, batches)) if grouped else one

    if mode == "jit":
        whole, parts = NamedSharding(mesh, everywhere), NamedSharding(mesh, split)
        return xla.jit(step(None), in_shardings=(whole, parts), out_shardings=(whole, whole), donate_argnums=0)
    if mode == "shard_map":
        # Without the check of varying axes, averaging gradients by hand is right here as it is under pmap.
        mapped = jax.shard_map(
            step(AXIS), mesh=mesh, in_specs=(everywhere, split), out_specs=(everywhere, everywhere), check_vma=False
        )
        return xla.jit(mapped, donate_argnums=0)
    if mode == "pmap":
        return jax.pmap(
            step(AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
            donate_argnums=0,
            devices=list(mesh.devices.flat),
        )
    raise InputError(f"config.parallel is {mode!r}; expected 'jit', 'pmap' or 'shard_map'")


def _split(grouped: bool) -> PartitionSpec:
    """How a batch lies on the devices: by examples."""
    return PartitionSpec(None, AXIS) if grouped else PartitionSpec(AXIS)


def _by_device(x: np.ndarray, devices: int, grouped: bool) -> np.ndarray:
    """[B, ...] or [K, B, ...] as [devices, (K,) B / devices, ...], as pmap takes it."""
    if not grouped:
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])
    return x.reshape(x.shape[0], devices, x.shape[1] // devices, *x.shape[2:]).swapaxes(0, 1)


def whole(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh: Mesh):
    """Puts a tree of arrays on every device, whole; in every process the same."""
    return jax.device_put(tree, whole(mesh))


def as_global(tree, mesh: Mesh):
    """A state after a step; of several processes pmap gives each its own copy, which this makes one array again."""
    if all(leaf.sharding.device_set == set(mesh.devices.flat) for leaf in jax.tree.leaves(tree)):
        return tree
    return multihost_utils.host_local_array_to_global_array(jax.device_get(tree), mesh, PartitionSpec())


def rows_here(mesh: Mesh, batch_size: int) -> np.ndarray:
    """int [n], rising: the examples of a batch that this process's devices work on; all, where there is one."""
    sharding = NamedSharding(mesh, _split(grouped=False))
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[rows] for (rows,) in slices]))


def place(batch: dict, *, mode: str, mesh: Mesh, grouped: bool = False) -> dict:
    """Starts the copy of a host batch, or of several stacked, to the devices; pmap copies host arrays itself, and
    gets them with the devices as their first axis.

    Args:
      batch: of several processes each has its `rows_here` of it.
      mode, mesh, grouped: as in `compile_step`.
    """
    if mode == "pmap":
        here = len(mesh.local_devices)
        return {name: _by_device(np.asarray(array), here, grouped) for name, array in batch.items()}
    sharding = NamedSharding(mesh, _split(grouped))
    if hosts.count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def prefetch(batches: Iterator[dict], *, mode: str, mesh: Mesh, grouped: bool = False, ahead: int = 2) -> Iterator:
    """Keeps `ahead` batches on their way to the devices while the current one is worked on."""
    queue = []
    for batch in batches:
        queue.append(place(batch, mode=mode, mesh=mesh, grouped=grouped))
        if len(queue) > ahead:
            yield queue.pop(0)
    yield from queue
