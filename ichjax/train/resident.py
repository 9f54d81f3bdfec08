"""Training scans in the memory of the devices, on which patches are cut by their row of the patch table.

Each device holds all scans, or its share of the subjects where all are too much. The patches are those that
`loader.PatchReader` reads, and the training step is the same compiled program, so training gives the same bits.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ichjax import console, hosts, xla
from ichjax.config import Config
from ichjax.data import loader
from ichjax.data.resident import ScanArrays
from ichjax.errors import InputError
from ichjax.ops import midplane, patches
from ichjax.scan.volume import AIR_HU
from ichjax.train import parallel
from ichjax.train.step import DeviceBatch

MAX_RESIDENT_SHARE = 0.5  # of a device's memory for the scans; the rest is for the training step
TURN_OFF = "config.train.resident=False"


def number_of_parts(bytes_of_part: Callable[[int], int], devices: int, limit: int | None) -> int:
    """Into how many parts the scans must be divided to fit: 1, so that every device holds all of them, or `devices`.

    Args:
      bytes_of_part: maps a number of parts to the bytes of the largest one.
      devices: that share the scans.
      limit: bytes of memory of this process's devices, see `xla.memory_limit`; None if unknown.

    Raises:
      InputError: a share of the scans does not fit either, in any of the processes.
    """
    room = None if limit is None else int(MAX_RESIDENT_SHARE * limit)
    for parts in dict.fromkeys((1, devices)):
        if not hosts.any_of(room is not None and bytes_of_part(parts) > room):
            return parts
    whole, share, there = (count / 1e9 for count in (bytes_of_part(1), bytes_of_part(devices), room or 0))
    divided = f", divided by subjects {share:.2f} GB on each of {devices} devices" if devices > 1 else ""
    raise InputError(
        f"config.train.resident is True, but the training scans need {whole:.2f} GB{divided}; expected at most "
        f"{there:.2f} GB per device, {MAX_RESIDENT_SHARE:.0%} of its memory: set {TURN_OFF}"
    )


class ResidentScans:
    """The scans of a reader on the devices of a mesh.

    Attributes:
      parts: 1 if every device holds all scans, else the number of devices that share them.
      bytes_per_device: of the scans and the patch table.
    """

    def __init__(self, reader: loader.PatchReader, mesh: Mesh, *, mode: str, grouped: bool):
        """Copies the scans to the devices.

        Args:
          reader: of the training scans.
          mesh, mode, grouped: as in `parallel.compile_step`.

        Raises:
          InputError: the devices together have too little memory.
        """
        arrays = ScanArrays(reader.hu, reader.masks, reader.priors, reader.column_sums, reader.table)
        self.parts = number_of_parts(arrays.bytes_of_part, mesh.size, xla.memory_limit())
        self.bytes_per_device = arrays.bytes_of_part(self.parts)
        with xla.explain_out_of_memory("copying the training scans to the devices", lambda: TURN_OFF):
            self._arrays = jax.block_until_ready(_place(arrays, self.parts, mesh))
        self._mesh, self._mode, self._grouped = mesh, mode, grouped
        by_device = mode == "pmap"
        share = functools.partial(
            cut_share,
            divided=self.parts > 1,
            by_device=by_device,
            side=reader.table.side,
            neighbors=reader.neighbors,
            lowest_hu=arrays.lowest_hu,
        )
        examples = parallel.batch_spec(grouped)
        in_specs = (_volume_spec(self.parts), PartitionSpec(), examples)
        out_specs = PartitionSpec(parallel.AXIS) if by_device else examples
        self._program = xla.jit(
            jax.shard_map(share, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
        )

    def __str__(self) -> str:
        """How they are placed, for people."""
        size, devices = f"{self.bytes_per_device / 1e9:.2f} GB", self._mesh.size
        if self.parts > 1:
            return f"the training scans are divided by subjects over the memory of {devices} devices, {size} on each"
        return f"the training scans are in the memory of {'the device' if devices == 1 else 'every device'}, {size}"

    def read(self, rows: np.ndarray) -> loader.Examples:
        """The examples in these rows of the patch table, int [n]; their pixels are on the devices."""
        return {"index": rows.astype(np.int32), "weight": np.ones(len(rows), np.float32)}

    def batches(self, examples: Iterator[loader.Examples]) -> Iterator[DeviceBatch]:
        """The batches of examples, as `parallel.prefetch` gives those of a `PatchReader`."""
        return map(self.cut, parallel.prefetch(examples, mode="jit", mesh=self._mesh, grouped=self._grouped))

    def cut(self, examples: DeviceBatch) -> DeviceBatch:
        """Cuts the patches of examples on the devices, {'index', 'weight'} sharded by example, into a whole batch."""
        batch = self._program(*self._arrays, examples)
        if self._mode == "pmap" and hosts.count() > 1:
            return multihost_utils.global_array_to_host_local_array(batch, self._mesh, PartitionSpec(parallel.AXIS))
        return batch


def hold_scans(config: Config, reader: loader.BatchReader, mesh: Mesh, *, fold: int) -> ResidentScans | None:
    """The scans of a reader on the devices, if `config.train.resident` is set; prints where they are.

    Raises:
      InputError: the devices together have too little memory, or examples are no patches.
    """
    if not config.train.resident:
        return None
    if not isinstance(reader, loader.PatchReader):
        raise InputError(f"config.train.resident is True; expected False where an example is no patch: set {TURN_OFF}")
    held = ResidentScans(reader, mesh, mode=config.parallel, grouped=config.train.steps_per_dispatch > 1)
    console.say(f"fold {fold}: {held}")
    return held


def _volume_spec(parts: int) -> PartitionSpec:
    return PartitionSpec(parallel.AXIS) if parts > 1 else PartitionSpec()


def _place(arrays: ScanArrays, parts: int, mesh: Mesh) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The arrays of scans on the devices, and the table on every device."""
    layout, sharding = arrays.layout(parts), NamedSharding(mesh, _volume_spec(parts))

    def volume(name: str) -> jax.Array:
        (slices, *plane), dtype = arrays.shapes(layout)[name]
        part = functools.lru_cache(maxsize=1)(functools.partial(arrays.part, name, layout))

        def on_device(index: Any) -> np.ndarray:
            return part((index[0].start or 0) // slices)

        return jax.make_array_from_callback((slices * parts, *plane), sharding, on_device, dtype=dtype)

    table: Any = arrays.table(layout)
    return {name: volume(name) for name in arrays.shapes(layout)}, parallel.replicate(table, mesh)


def cut_share(
    volumes: dict[str, jax.Array],
    table: dict[str, jax.Array],
    examples: DeviceBatch,
    *,
    divided: bool,
    by_device: bool,
    **options: Any,
) -> DeviceBatch:
    """A device's share of a batch, under shard_map.

    If the scans are divided, every device cuts what it holds of the whole batch and the patches are exchanged, so that
    scans never leave their device.

    Args:
      volumes, table: the device's part of `ScanArrays`, and the table of all patches.
      examples: the device's share of {'index', 'weight'}, [n] or [K, n].
      divided: whether this is one of several parts, or all scans.
      by_device: add a first axis of size 1, as pmap takes a batch.
      options: of `cut_patches`.
    """
    index = examples["index"]
    if divided:
        index = jax.lax.all_gather(index, parallel.AXIS, axis=index.ndim - 1, tiled=True)
    image, mask = (
        patch.reshape(*index.shape, *patch.shape[1:]) for patch in cut_patches(volumes, table, index.ravel(), **options)
    )
    if divided:
        own = table["part"][index] == jax.lax.axis_index(parallel.AXIS)
        image, mask = _exchange(image, own), _exchange(mask, own)
    batch = {"image": image, "mask": mask, **examples}
    return jax.tree.map(lambda x: x[None], batch) if by_device else batch


def cut_patches(
    volumes: dict[str, jax.Array],
    table: dict[str, jax.Array],
    rows: jax.Array,
    *,
    side: int,
    neighbors: int,
    lowest_hu: int,
) -> tuple[jax.Array, jax.Array]:
    """Cuts the patches in rows of the table: what `loader.PatchReader.read` gives as 'image' and 'mask'.

    Args:
      volumes, table: see `ScanArrays`; patches of other parts are cut anywhere.
      rows: int32 [B].
      side: P, in pixels.
      neighbors: number of slices above and below.
      lowest_hu: is added to the stored HU.

    Returns:
      (int16 [B, P, P] or [B, P, P, C], uint8 [B, P, P]).
    """
    at = {name: column[rows] for name, column in table.items()}

    def cut(name: str, number: jax.Array) -> jax.Array:
        return patches.cut(volumes[name], number, at["row"], at["column"], height=side, width=side)

    def hu(stored: jax.Array) -> jax.Array:
        return stored.astype(jnp.int16) + jnp.int16(lowest_hu)

    offsets = range(-neighbors, neighbors + 1)
    channels = [hu(cut("hu", jnp.clip(at["slice"] + by, at["lowest"], at["highest"]))) for by in offsets]
    if "column_sum" in at:
        start, width = jnp.zeros_like(at["column"]), volumes["hu"].shape[2]
        whole = patches.cut(volumes["hu"], at["slice"], at["row"], start, height=side, width=width)
        about = (at["column"], at["column_sum"], at["width"])
        channels.append(midplane.mirrored_patches(hu(whole), *about, side=side, outside=AIR_HU))
    if "prior" in volumes:
        channels.append(loader.PRIOR_STEP * cut("prior", at["slice"]).astype(jnp.int16))
    image = jnp.stack(channels, axis=-1) if len(channels) > 1 else channels[0]
    return image, cut("mask", at["slice"])


def _exchange(patch: jax.Array, own: jax.Array) -> jax.Array:
    """This device's examples of a batch [..., B, P, P, ...], each from the device that has it: `own`, bool [..., B]."""
    mine = jnp.where(jnp.expand_dims(own, tuple(range(own.ndim, patch.ndim))), patch, jnp.zeros((), patch.dtype))
    # Not every platform can sum 8 or 16 bits over devices. All but one of the summed values are 0.
    whole = jax.lax.psum_scatter(mine.astype(jnp.int32), parallel.AXIS, scatter_dimension=own.ndim - 1, tiled=True)
    return whole.astype(patch.dtype)
