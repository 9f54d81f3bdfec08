"""Data parallelism: one step over all devices by jit with shardings (the default), pmap or shard_map.

The batch is sharded over the devices; the state is replicated, and its buffers are donated.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ichjax import hosts, xla
from ichjax.data.examples import Examples
from ichjax.errors import InputError
from ichjax.prefetch import ahead_in_thread
from ichjax.train.step import DeviceBatch

AXIS = "data"
Tree = TypeVar("Tree")


def make_mesh(devices: list | None = None) -> Mesh:
    """A one-dimensional mesh, of all devices by default."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def check_batch(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raises InputError unless a batch splits evenly over the devices, and a device's share into `accumulate` parts."""
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
      grouped: make several optimizer steps per dispatch (`lax.scan`): batches and metrics are stacked along a new first
        axis.

    Returns:
      A function of the replicated state and a batch from `shard_batch`, with the `lower` method of jitted functions;
      the state's buffers are donated.
    """
    everywhere, sharded = PartitionSpec(), batch_spec(grouped)

    def step(axis: str | None) -> Callable:
        single = make_step(axis=axis)
        return (lambda state, batches: jax.lax.scan(single, state, batches)) if grouped else single

    if mode == "jit":
        state, batch = replicated(mesh), NamedSharding(mesh, sharded)
        metrics = {"loss": batch, "gradient_norm": state, "finite": state}
        return xla.jit(step(None), in_shardings=(state, batch), out_shardings=(state, metrics), donate_argnums=0)
    if mode == "shard_map":
        # Without the check of varying axes, gradients are averaged explicitly as under pmap.
        mapped = jax.shard_map(
            step(AXIS), mesh=mesh, in_specs=(everywhere, sharded), out_specs=(everywhere, everywhere), check_vma=False
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


def batch_spec(grouped: bool) -> PartitionSpec:
    """Batches are sharded by example."""
    return PartitionSpec(None, AXIS) if grouped else PartitionSpec(AXIS)


def _by_device(x: np.ndarray, devices: int, grouped: bool) -> np.ndarray:
    """Reshapes [B, ...] or [K, B, ...] to [devices, (K,) B / devices, ...] for pmap."""
    if not grouped:
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])
    return x.reshape(x.shape[0], devices, x.shape[1] // devices, *x.shape[2:]).swapaxes(0, 1)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds completely."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Copies a tree of arrays, the same in every process, to every device."""
    return jax.device_put(tree, replicated(mesh))


def as_global(tree: Tree, mesh: Mesh) -> Tree:
    """A state after a step as global arrays; pmap gives each of several processes local ones."""
    if all(leaf.sharding.device_set == set(mesh.devices.flat) for leaf in jax.tree.leaves(tree)):
        return tree
    return multihost_utils.host_local_array_to_global_array(jax.device_get(tree), mesh, PartitionSpec())


def local_examples(mesh: Mesh, batch_size: int) -> np.ndarray:
    """int [n], ascending: the examples of a batch that go to this process's devices; all if there is one process."""
    sharding = NamedSharding(mesh, batch_spec(grouped=False))
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in indices if index is not None]))


def shard_batch(batch: Examples, *, mode: str, mesh: Mesh, grouped: bool = False) -> DeviceBatch:
    """Starts copying a host batch, or several stacked, to the devices.

    pmap copies host arrays itself; for it the arrays are reshaped with the devices as their first axis.

    Args:
      batch: the process's `local_examples` of it.
      mode, mesh, grouped: as in `compile_step`.
    """
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in batch.items()}
    if mode == "pmap":
        arrays = {name: _by_device(array, len(mesh.local_devices), grouped) for name, array in arrays.items()}
        return arrays
    sharding = NamedSharding(mesh, batch_spec(grouped))
    if hosts.count() == 1:
        return jax.device_put(arrays, sharding)
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in arrays.items()}


def prefetch(
    batches: Iterable[Examples], *, mode: str, mesh: Mesh, grouped: bool = False, ahead: int = 2
) -> Iterator[DeviceBatch]:
    """Copies up to `ahead` batches to the devices in advance, in a thread, which also waits for the reader."""
    place = functools.partial(shard_batch, mode=mode, mesh=mesh, grouped=grouped)
    return ahead_in_thread(map(place, batches), ahead)
