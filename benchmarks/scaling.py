"""Steps per second and bytes all-reduced on 1, 2, 4 and 8 devices, under jit, pmap and shard_map.

    python -m benchmarks.scaling [--width=8] [--batch=16] [--side=32] [--rounds=7]

The global batch is always the same. On a CPU all devices share the same cores, so only the overhead of dividing the
work shows. Each round runs all variants, so other load on the machine hits all of them.
"""

import argparse
import math
import os
import re
import statistics
import time
from collections.abc import Callable

import jax
from tqdm import tqdm

from benchmarks import record
from benchmarks.our_work import noise_batch, paper_config, training_program
from ichjax.config import Config
from ichjax.train import parallel

MODES = ("jit", "pmap", "shard_map")
COUNTS = (1, 2, 4, 8)
BYTES = {"f32": 4, "bf16": 2, "pred": 1, "s32": 4, "u32": 4, "f64": 8}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("width", 8), ("batch", 16), ("side", 32), ("rounds", 7), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    counts = [n for n in COUNTS if n <= len(jax.devices()) and options.batch % n == 0]
    variants = {}
    for mode, n in tqdm([(mode, n) for mode in MODES for n in counts], desc="compiling", leave=False):
        config = paper_config(options.width, options.side, options.batch, parallel=mode)
        variants[mode, n] = _variant(config, n)
    times = {key: [] for key in variants}
    for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
        for key, variant in variants.items():
            times[key].append(_seconds(*variant, options.steps))
    rows = []
    for (mode, n), seconds in times.items():
        median, base = statistics.median(seconds), statistics.median(times[mode, counts[0]])
        rows.append(
            {
                "mode": mode,
                "devices": n,
                "steps a second": 1 / median,
                "least": 1 / max(seconds),
                "most": 1 / min(seconds),
                "times one device": base / median,
                "all-reduced MB a step": all_reduced_bytes(variants[mode, n][0].as_text()) / 1e6,
            }
        )
    cpu = jax.devices()[0].platform == "cpu"
    description = (
        f"One training step (augmentation, U-Net of base width {options.width}, Adam) on a global batch of "
        f"{options.batch} patches of {options.side} x {options.side}; medians of {options.rounds} rounds of "
        f"{options.steps} steps, all variants in each round. "
        + ("All devices share one CPU, so only overhead shows and no speed-up can. " if cpu else "")
        + "MB: what each device puts into all-reduces, read from the compiled program."
    )
    record.publish("scaling", rows, description=description)


def _variant(config: Config, devices: int) -> tuple[Callable, dict, list]:
    """(compiled program, batch on the devices, [state])."""
    mesh = parallel.make_mesh(jax.devices()[:devices])
    program, state = training_program(config, mesh)
    batch, holder = parallel.shard_batch(noise_batch(config), mode=config.parallel, mesh=mesh), [state]
    del state  # its buffers are donated
    compiled = program.lower(holder[0], batch).compile()
    _seconds(compiled, batch, holder, 2)
    return compiled, batch, holder


def _seconds(program: Callable, batch: dict, holder: list, count: int) -> float:
    """Seconds per step, over `count` steps."""
    started = time.perf_counter()
    for _ in range(count):
        holder[0], metrics = program(holder[0], batch)
    jax.block_until_ready((holder[0], metrics))
    return (time.perf_counter() - started) / count


def all_reduced_bytes(hlo: str) -> int:
    """Bytes that one device puts into the all-reduces of a compiled program, parsed from its text."""
    total = 0
    for line in hlo.splitlines():
        match = re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", match[1]) if match else ():
            total += BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)
    return total


if __name__ == "__main__":
    main()
