"""Steps a second, and bytes that go between devices, for 1, 2, 4 and 8 devices and the three ways of running on them.

    python -m benchmarks.scaling [--width=8] [--batch=16] [--side=32] [--rounds=7]

The global batch is the same for all. On a CPU the devices are made of the same cores, so only the overhead of dividing
the work shows. Rounds go through all the variants in turn, so that what else the machine does hits all of them.
"""

import argparse
import functools
import math
import os
import re
import statistics
import time

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import record
from ichjax import config as configs
from ichjax.models import unet
from ichjax.ops.augment import AffineRange
from ichjax.train import parallel
from ichjax.train import state as states
from ichjax.train import step as steps

MODES = ("jit", "pmap", "shard_map")
COUNTS = (1, 2, 4, 8)
BYTES = {"f32": 4, "bf16": 2, "pred": 1, "s32": 4, "u32": 4, "f64": 8}


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("width", 8), ("batch", 16), ("side", 32), ("rounds", 7), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    config = configs.default()
    fields = {"model.base_width": options.width, "patch.side": options.side, "train.batch_size": options.batch}
    config.update_from_flattened_dict(fields)
    counts = [n for n in COUNTS if n <= len(jax.devices()) and options.batch % n == 0]
    keys = tqdm([(mode, n) for mode in MODES for n in counts], desc="compiling", leave=False)
    variants = {key: _variant(config, *key) for key in keys}
    times = {key: [] for key in variants}
    for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
        for key, variant in variants.items():
            times[key].append(_seconds(*variant, options.steps))
    cpu = jax.devices()[0].platform == "cpu"
    rows = []
    for (mode, n), found in times.items():
        seconds, base = statistics.median(found), statistics.median(times[mode, counts[0]])
        rows.append(
            {
                "mode": mode,
                "devices": n,
                "steps a second": 1 / seconds,
                "least": 1 / max(found),
                "most": 1 / min(found),
                "times one device": base / seconds,
                "all-reduced MB a step": all_reduced_bytes(variants[mode, n][0].as_text()) / 1e6,
            }
        )
    said = (
        f"One training step (augmentation, U-Net of base width {options.width}, Adam) on a global batch of "
        f"{options.batch} patches of {options.side} x {options.side}; medians of {options.rounds} rounds of "
        f"{options.steps} steps, the variants in turn. "
        + ("All devices share one CPU: the overhead of dividing the work shows, and no speed-up can. " if cpu else "")
        + "MB: what each device puts into all-reduces, read from the compiled program."
    )
    print(f"{said}\n\n{record.table(rows)}\n\nwritten: {record.write('scaling', rows, said=said)}")


def _variant(config, mode: str, devices: int) -> tuple:
    """(compiled program, batch in place, [state])."""
    mesh = parallel.make_mesh(jax.devices()[:devices])
    optimizer = states.make_optimizer(states.make_schedule(config, 1000))
    settings = steps.StepSettings(AffineRange(**config.augment), 0)
    make_step = functools.partial(steps.make_train_step, unet.network_from_config(config), optimizer, settings)
    program = parallel.compile_step(make_step, mode=mode, mesh=mesh)
    size, side = config.train.batch_size, config.patch.side
    rng = np.random.default_rng(0)
    image = rng.integers(-40, 130, (size, side, side)).astype(np.int16)
    batch = {"image": image, "mask": (image > 100).astype(np.uint8), "index": np.arange(size, dtype=np.int32)}
    batch["weight"] = np.ones(size, np.float32)
    batch = parallel.shard_batch(batch, mode=mode, mesh=mesh)
    holder = [parallel.replicate(states.create(unet.network_from_config(config), config, fold=0), mesh)]
    compiled = program.lower(holder[0], batch).compile()
    _seconds(compiled, batch, holder, 2)
    return compiled, batch, holder


def _seconds(program, batch, holder: list, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        holder[0], metrics = program(holder[0], batch)
    jax.block_until_ready((holder[0], metrics))
    return (time.perf_counter() - started) / count


def all_reduced_bytes(hlo: str) -> int:
    """Bytes that one device puts into the all-reduces of a compiled program, from its text."""
    total = 0
    for line in hlo.splitlines():
        found = re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", found[1]) if found else ():
            total += BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)
    return total


if __name__ == "__main__":
    main()
