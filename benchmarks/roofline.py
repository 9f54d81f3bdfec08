"""How near to the machine's ceiling the compiled training step and prediction come, and which ceiling it is.

    python -m benchmarks.roofline [--widths=16,32,64] [--batch=4] [--side=128] [--rounds=5] [--dtype=float32]

Before each run of a program a large matrix product and a large copy are timed, so that a share survives what else the
machine does. The roofline is that of Williams, Waterman and Patterson (2009): a program needs at least as long as its
operations at the matrix rate, and as its bytes at the copy rate.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from tqdm import tqdm

from benchmarks import record
from benchmarks.flops import count_flops
from ichjax import config as configs
from ichjax import xla
from ichjax.models import unet
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.unet import layer_table
from ichjax.ops.augment import AffineRange
from ichjax.train import parallel
from ichjax.train import state as states
from ichjax.train import step as steps


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
    parser.add_argument("--copy-mb", type=int, default=2048 if gpu else 256, help="that are read, and written again")
    options = parser.parse_args(argv)
    rows = []
    for dtype in options.dtype.split(","):
        ceilings = make_matrix_product(options.matrix, dtype), make_copy(options.copy_mb)
        for width in map(int, options.widths.split(",")):
            config = make_config(width, options.batch, options.side, dtype)
            for name, trace, make, by_hand in (
                ("prediction", trace_prediction, make_prediction, forward_flops),
                ("training step", trace_training_step, make_training_step, training_flops),
            ):
                row = {"program": name, "dtype": dtype, "width": width, "GFLOP by hand": by_hand(config) / 1e9}
                with xla_convolutions_only():  # operations of C++ calls cannot be counted
                    flops = count_flops(trace(config)[0].jaxpr)
                rows.append(row | measure(make(config), flops, *ceilings, rounds=options.rounds, batch=options.batch))
    said = (
        f"The network on batches of {options.batch} patches of {options.side} x {options.side}: prediction from HU to "
        "probability, and the training step with augmentation and Adam. GFLOP are those of the convolutions and matrix "
        "products of the program as XLA computes it, counted from their shapes, two for each multiply-add; by hand, "
        "those of the authors' layers. GB are XLA's count for the program that runs. JAX's default precision "
        "throughout. "
        f"Medians of {options.rounds} rounds of a {options.matrix} x {options.matrix} matrix product, a copy of "
        f"{options.copy_mb} MB and the program. Reached: the time that the limiting one of the two ceilings asks for, "
        "as a share of the time taken; bytes that stay in a cache are counted too, so it can be above 100 %."
    )
    print(f"{said}\n\n{record.table(rows)}\n\nwritten: {record.write('roofline', rows, said=said)}")


def make_config(width: int, batch: int, side: int, dtype: str) -> ml_collections.ConfigDict:
    """The paper's network and training at another size."""
    config = configs.default()
    fields = {"model.base_width": width, "train.batch_size": batch, "patch.side": side, "model.dtype": dtype}
    config.update_from_flattened_dict(fields)
    return config


def make_batch(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
    """A `loader.Batch` of noise in the range of the brain window."""
    size, side = config.train.batch_size, config.patch.side
    image = np.random.default_rng(0).integers(-40, 130, (size, side, side)).astype(np.int16)
    return {
        "image": image,
        "mask": (image > 100).astype(np.uint8),
        "index": np.arange(size, dtype=np.int32),
        "weight": np.ones(size, np.float32),
    }


def trace_prediction(config: ml_collections.ConfigDict) -> tuple[jax.stages.Traced, tuple]:
    """(the traced prediction of one batch, its arguments): windows, network, sigmoid."""
    network = unet.network_from_config(config)
    inputs = states.create(network, config, fold=0).params, jnp.asarray(make_batch(config)["image"])

    def predict(params, image):
        return network.probability(params, network.images(image))

    return xla.jit(predict).trace(*inputs), inputs


def make_prediction(config: ml_collections.ConfigDict) -> tuple[Callable, jax.stages.Compiled]:
    """(a function that predicts one batch and waits, the compiled program)."""
    traced, inputs = trace_prediction(config)
    program = traced.lower().compile()
    return lambda: jax.block_until_ready(program(*inputs)), program


def trace_training_step(config: ml_collections.ConfigDict) -> tuple[jax.stages.Traced, tuple]:
    """(the traced training step, its arguments: state and batch), as training compiles it, for one device."""
    optimizer = states.make_optimizer(states.make_schedule(config, 1000))
    settings = steps.StepSettings(AffineRange(**config.augment), config.seed)
    mesh = parallel.make_mesh(jax.devices()[:1])
    make_step = functools.partial(steps.make_train_step, unet.network_from_config(config), optimizer, settings)
    step = parallel.compile_step(make_step, mode="jit", mesh=mesh)
    batch = parallel.shard_batch(make_batch(config), mode="jit", mesh=mesh)
    state = parallel.replicate(states.create(unet.network_from_config(config), config, fold=0), mesh)
    return step.trace(state, batch), (state, batch)


def make_training_step(config: ml_collections.ConfigDict) -> tuple[Callable, jax.stages.Compiled]:
    """(a function that makes one update and waits, the compiled program); each call goes on from the last one."""
    traced, (state, batch) = trace_training_step(config)
    program, holder = traced.lower().compile(), [state]
    del state  # its buffers are donated

    def run() -> None:
        holder[0], metrics = program(holder[0], batch)
        jax.block_until_ready((holder[0], metrics))

    return run, program


def make_matrix_product(side: int, dtype: str) -> tuple[Callable, float]:
    """(a function that multiplies two square matrices and waits, its floating-point operations)."""
    one = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(one, one)), 2.0 * side**3


def make_copy(megabytes: int) -> tuple[Callable, float]:
    """(a function that reads that many MB, changes them, writes them to their place and waits, bytes moved)."""
    holder = [jnp.zeros(megabytes * 250_000, jnp.float32)]
    change = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def run() -> None:
        holder[0] = jax.block_until_ready(change(holder[0]))

    return run, 2e6 * megabytes


def bytes_moved(program: jax.stages.Compiled) -> float:
    """Bytes that a compiled program reads and writes, as the compiler counts them: they depend on the machine."""
    return float(program.cost_analysis()["bytes accessed"])


def forward_flops(config: ml_collections.ConfigDict, *, borders: bool = False) -> float:
    """Floating-point operations of a batch's convolutions, by hand: two for each weight at each pixel of the output.

    Those of the layers as the authors have them; our up-convolutions need 9 of 16 of theirs.

    Args:
      config: of `make_config`.
      borders: whether products with the zeros beyond the border count too. With them the paper's 160 x 160 patch
        comes to 42.66 GFLOP; without, they are left out as in `count_flops`.
    """
    return sum(_layer_flops(config, borders))


def training_flops(config: ml_collections.ConfigDict) -> float:
    """As `forward_flops`, of an update: each convolution's gradients, of what goes in and of the weights, cost what it
    costs itself; what goes into the first one is the image, which needs none."""
    layers = _layer_flops(config, borders=False)
    return 3 * sum(layers) - layers[0]


def _layer_flops(config: ml_collections.ConfigDict, borders: bool) -> list[float]:
    found = []
    for layer in (row for row in layer_table(config) if row["kernel"]):
        height, width, channels = layer["output_shape"]
        side = int(layer["kernel"].split()[0])
        weights = (layer["parameters"] - channels) / side**2  # of one place of the kernel
        beyond = 0 if borders else side - 1  # places of the kernel that lie outside, over all pixels of a line
        places = (side * height - beyond) * (side * width - beyond)
        found.append(2.0 * weights * places * config.train.batch_size)
    return found


def roofline(
    seconds: float, flops: float, moved: float, *, flops_a_second: float, bytes_a_second: float
) -> tuple[float, str]:
    """(share of the ceiling that is reached, 'matrix' or 'memory': which ceiling is the lower one).

    Args:
      seconds: that the program took.
      flops, moved: its floating-point operations and bytes.
      flops_a_second, bytes_a_second: what the machine can do.
    """
    needed = {"matrix": flops / flops_a_second, "memory": moved / bytes_a_second}
    limit = max(needed, key=needed.get)
    return needed[limit] / seconds, limit


def measure(program: tuple, flops: float, matrix: tuple, copy: tuple, *, rounds: int, batch: int) -> dict:
    """One row: what the program needs, what it took, and the shares of both ceilings, paired within each round.

    Args:
      program: of `make_prediction` or `make_training_step`.
      flops: its floating-point operations.
      matrix, copy: of `make_matrix_product` and `make_copy`.
      rounds: after one to warm up.
      batch: patches that the program works on.
    """
    moved = bytes_moved(program[1])
    runs = (matrix[0], copy[0], program[0])
    for run in runs:
        run()
    found = [[_seconds(run) for run in runs] for _ in tqdm(range(rounds), desc="roofline", leave=False)]
    rates = [(matrix[1] / a, copy[1] / b, c) for a, b, c in found]  # FLOP/s, bytes/s, seconds of the program
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
