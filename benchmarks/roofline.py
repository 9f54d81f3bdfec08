"""Roofline of the compiled training step and prediction: the share of the machine's ceiling that they reach.

    python -m benchmarks.roofline [--widths=16,32,64] [--batch=4] [--side=128] [--rounds=5] [--dtype=float32]

A large matrix product and a large copy are timed before each run of a program, so that the share is robust to other
load on the machine. The roofline follows Williams, Waterman and Patterson (2009): a program takes at least as long as
its operations at the matrix rate, and as its bytes at the copy rate.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from tqdm import tqdm

from benchmarks import record
from benchmarks.flops import count_flops
from benchmarks.our_work import noise_batch, paper_config, training_program
from ichjax import xla
from ichjax.config import Config
from ichjax.models import unet
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.unet import layer_table
from ichjax.train import parallel
from ichjax.train import state as states


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="64" if gpu else "16,32,64")
    parser.add_argument("--batch", type=int, default=256 if gpu else 4)
    parser.add_argument("--side", type=int, default=160 if gpu else 128)
    parser.add_argument("--rounds", type=int, default=20 if gpu else 5)
    parser.add_argument("--dtype", default="float32,bfloat16" if gpu else "float32", help="of the computation")
    parser.add_argument("--matrix", type=int, default=8192 if gpu else 2048, help="side of the matrix product")
    parser.add_argument("--copy-mb", type=int, default=2048 if gpu else 256, help="read and written")
    options = parser.parse_args(argv)
    rows = []
    for dtype in options.dtype.split(","):
        ceilings = make_matrix_product(options.matrix, dtype), make_copy(options.copy_mb)
        for width in map(int, options.widths.split(",")):
            config = paper_config(width, options.side, options.batch, dtype)
            for name, trace, make, by_hand in (
                ("prediction", trace_prediction, make_prediction, forward_flops),
                ("training step", trace_training_step, make_training_step, training_flops),
            ):
                row = {"program": name, "dtype": dtype, "width": width, "GFLOP by hand": by_hand(config) / 1e9}
                with xla_convolutions_only():  # the operations of C++ calls cannot be counted
                    flops = count_flops(trace(config)[0].jaxpr)
                rows.append(row | measure(make(config), flops, *ceilings, rounds=options.rounds, batch=options.batch))
    description = (
        f"The network on batches of {options.batch} patches of {options.side} x {options.side}: prediction from HU to "
        "probability, and the training step with augmentation and Adam. GFLOP are those of the convolutions and matrix "
        "products of the program as XLA computes it, counted from their shapes, two per multiply-add; by hand, those "
        "of the authors' layers. GB are XLA's count for the program that runs. JAX's default precision throughout. "
        f"Medians of {options.rounds} rounds of a {options.matrix} x {options.matrix} matrix product, a copy of "
        f"{options.copy_mb} MB and the program. Reached: the time that the limiting ceiling requires, as a share of "
        "the time taken; bytes that stay in a cache are counted too, so it can be above 100 %."
    )
    record.publish("roofline", rows, description=description)


def trace_prediction(config: Config) -> tuple[jax.stages.Traced, tuple]:
    """(the traced prediction of one batch, its arguments): windowing, network, sigmoid."""
    network = unet.network_from_config(config)
    inputs = states.create(network, config, fold=0).params, jnp.asarray(noise_batch(config)["image"])

    def predict(params: dict, image: jax.Array) -> jax.Array:
        return network.probability(params, network.images(image))

    return xla.jit(predict).trace(*inputs), inputs


def make_prediction(config: Config) -> tuple[Callable, jax.stages.Compiled]:
    """(a function that predicts one batch and waits, the compiled program)."""
    traced, inputs = trace_prediction(config)
    program = traced.lower().compile()
    return lambda: jax.block_until_ready(program(*inputs)), program


def trace_training_step(config: Config) -> tuple[jax.stages.Traced, tuple]:
    """(the traced training step, its arguments: state and batch), as training compiles it, for one device."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    step, state = training_program(config, mesh)
    batch = parallel.shard_batch(noise_batch(config), mode=config.parallel, mesh=mesh)
    return step.trace(state, batch), (state, batch)


def make_training_step(config: Config) -> tuple[Callable, jax.stages.Compiled]:
    """(a function that makes one update and waits, the compiled program); each call continues from the last one."""
    traced, (state, batch) = trace_training_step(config)
    program, holder = traced.lower().compile(), [state]
    del state  # its buffers are donated

    def run() -> None:
        holder[0], metrics = program(holder[0], batch)
        jax.block_until_ready((holder[0], metrics))

    return run, program


def make_matrix_product(side: int, dtype: str) -> tuple[Callable, float]:
    """(a function that multiplies two square matrices and waits, its floating-point operations)."""
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(matrix, matrix)), 2.0 * side**3


def make_copy(megabytes: int) -> tuple[Callable, float]:
    """(a function that reads that many MB, changes them in place and waits, bytes moved)."""
    holder = [jnp.zeros(megabytes * 250_000, jnp.float32)]
    change = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def run() -> None:
        holder[0] = jax.block_until_ready(change(holder[0]))

    return run, 2e6 * megabytes


def bytes_moved(program: jax.stages.Compiled) -> float:
    """Bytes that a compiled program reads and writes, by the compiler's count, which depends on the machine."""
    return float(program.cost_analysis()["bytes accessed"])


def forward_flops(config: Config, *, borders: bool = False) -> float:
    """Floating-point operations of a batch's convolutions, by hand: two per weight and pixel of the output.

    These are the authors' layers; our up-convolutions need 9/16 of the operations of theirs.

    Args:
      config: of the network and the batch.
      borders: whether to count products with the zeros outside the image, which `count_flops` excludes. With them the
        paper's 160 x 160 patch takes 42.66 GFLOP.
    """
    return sum(_layer_flops(config, borders))


def training_flops(config: Config) -> float:
    """Floating-point operations of an update, by hand: a convolution's gradients, by input and by weights, cost as much
    as the convolution itself; the first convolution's input is the image, which needs no gradient."""
    layers = _layer_flops(config, borders=False)
    return 3 * sum(layers) - layers[0]


def _layer_flops(config: Config, borders: bool) -> list[float]:
    flops = []
    for layer in (row for row in layer_table(config) if row["kernel"]):
        height, width, channels = layer["output_shape"]
        side = int(layer["kernel"].split()[0])
        weights = (layer["parameters"] - channels) / side**2  # per kernel tap
        outside = 0 if borders else side - 1  # taps outside the image, over all pixels of a line
        taps = (side * height - outside) * (side * width - outside)
        flops.append(2.0 * weights * taps * config.train.batch_size)
    return flops


def roofline(
    seconds: float, flops: float, moved: float, *, flops_a_second: float, bytes_a_second: float
) -> tuple[float, str]:
    """(share of the lower ceiling that is reached, which ceiling that is: 'matrix' or 'memory').

    Args:
      seconds: the program's time.
      flops, moved: the program's floating-point operations and bytes.
      flops_a_second, bytes_a_second: the machine's rates.
    """
    needed = {"matrix": flops / flops_a_second, "memory": moved / bytes_a_second}
    limit = max(needed, key=needed.get)
    return needed[limit] / seconds, limit


def measure(program: tuple, flops: float, matrix: tuple, copy: tuple, *, rounds: int, batch: int) -> dict:
    """A table row: the program's operations, bytes and time, and its shares of both ceilings, paired within each round.

    Args:
      program: from `make_prediction` or `make_training_step`.
      flops: its floating-point operations.
      matrix, copy: from `make_matrix_product` and `make_copy`.
      rounds: measured after one warm-up round.
      batch: patches per run of the program.
    """
    moved = bytes_moved(program[1])
    runs = (matrix[0], copy[0], program[0])
    for run in runs:
        run()
    times = [[_seconds(run) for run in runs] for _ in tqdm(range(rounds), desc="roofline", leave=False)]
    rates = [(matrix[1] / a, copy[1] / b, c) for a, b, c in times]  # FLOP/s, bytes/s, seconds of the program
    of_matrix = sorted(flops / c / rate for rate, _, c in rates)
    of_copy = [moved / c / rate for _, rate, c in rates]
    matrix_rate, copy_rate, seconds = (statistics.median(each) for each in zip(*rates, strict=True))
    _, limit = roofline(seconds, flops, moved, flops_a_second=matrix_rate, bytes_a_second=copy_rate)
    reached = [roofline(c, flops, moved, flops_a_second=a, bytes_a_second=b)[0] for a, b, c in rates]
    return {
        "GFLOP": flops / 1e9,
        "GB": moved / 1e9,
        "seconds": seconds,
        "patches/s": batch / seconds,
        "GFLOP/s": flops / seconds / 1e9,
        "matrix GFLOP/s": matrix_rate / 1e9,
        "copy GB/s": copy_rate / 1e9,
        "% of matrix": 100 * statistics.median(of_matrix),
        "least": 100 * of_matrix[0],
        "most": 100 * of_matrix[-1],
        "% of copy": 100 * statistics.median(of_copy),
        "limit": limit,
        "reached %": 100 * statistics.median(reached),
    }


def _seconds(run: Callable) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
