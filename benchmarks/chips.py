"""Chips that XLA can compile for without the hardware: their topologies, and their peak rates for lower bounds."""

import os
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

# As in openxla's target configuration of an 80 GB H100 (SXM); that of an H200 differs in its memory.
_HOPPER = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth}
l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: {memory} shared_memory_per_block_optin: 232448
cuda_compute_capability {{ major: 9 minor: 0 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} device_description_str: "{name}" """


class Chip(NamedTuple):
    """A kind of chip.

    Attributes:
      platform: as in `xla.platform`.
      topology: of TPUs, with the most devices that a program here uses.
      target: of GPUs, their properties in XLA's text form.
      tflops: peak rate of bfloat16 matrix products, without sparsity, by the maker's data sheet.
      bandwidth_gb_s: of its memory, by the same.
    """

    platform: str
    topology: str = ""
    target: str = ""
    tflops: float = 0.0
    bandwidth_gb_s: float = 0.0


_H100 = _HOPPER.format(bandwidth=3352320000000, memory=84942979072, name="NVIDIA H100 80GB HBM3")
_H200 = _HOPPER.format(bandwidth=4800000000000, memory=150754820096, name="NVIDIA H200")
CHIPS = {
    "H100": Chip("gpu", target=_H100, tflops=989, bandwidth_gb_s=3350),
    "H200": Chip("gpu", target=_H200, tflops=989, bandwidth_gb_s=4800),
    "v5e": Chip("tpu", topology="v5e:2x4", tflops=197, bandwidth_gb_s=819),
    "v6e": Chip("tpu", topology="v6e:2x4", tflops=918, bandwidth_gb_s=1640),
}
# Without these, libtpu looks for the machine that it is part of. Autotuning would need the device.
ENVIRON = {
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {"gpu": {"xla_gpu_autotune_level": "0"}, "tpu": {}}


def devices(name: str, count: int) -> list[jax.Device]:
    """`count` devices of a chip, to compile for and not to run on.

    Raises:
      RuntimeError: the compiler for it is not installed.
    """
    for variable, value in ENVIRON.items():
        os.environ.setdefault(variable, value)
    chip = CHIPS[name]
    if chip.platform == "gpu":
        shape = f"1x1x{count}"
        found = topologies.get_topology_desc(shape, "cuda", topology=shape, target_config=chip.target)
    else:
        found = topologies.get_topology_desc(chip.topology, "tpu")
    return list(found.devices)[:count]


def bound_ms(name: str, flops: float, moved_bytes: float) -> float:
    """The time that a chip needs at least: its operations at the peak rate, or its bytes at the full bandwidth."""
    chip = CHIPS[name]
    return 1000 * max(flops / (chip.tflops * 1e12), moved_bytes / (chip.bandwidth_gb_s * 1e9))
