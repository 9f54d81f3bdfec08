"""ichjax's programs, lowered for GPUs and TPUs without the hardware: training step, prediction and scores."""

import functools
import pathlib
import runpy
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import chips
from benchmarks.flops import count_flops
from benchmarks.our_work import TOTAL_STEPS, paper_config
from ichjax import xla
from ichjax.config import Config
from ichjax.methods import registry, slices
from ichjax.methods.views import View
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.network import Network
from ichjax.ops import metrics
from ichjax.train import fold_programs, parallel, programs
from ichjax.train import state as states
from ichjax.train import step as steps

MATRIX = 512  # of the scans that are predicted
SCAN_SLICES = 40
PREDICTED_SIDE = 128  # of their patches


class Program(NamedTuple):
    """A program, its size and its hardware.

    Attributes:
      kind: 'train', 'folds', 'validate', 'network', 'scan' or 'scores'.
      chip: in `chips.CHIPS`.
      devices: number of them.
      batch: patches of all devices together; of a scan, that one device predicts at a time.
      mode: of training, as `config.parallel`.
      width: of the network's first level.
      side: of the training patches.
      dtype: of the computation.
      inside_skull: whether a scan is restricted to the inside of the skull.
      remat: of training, as `config.train.remat`.
      config: of training, a file of configs/ in place of the paper's, such as 'ich'; its batch is that of `batch`.
      folds: number of those that are trained together (`config.parallel_folds`), each with a batch of `batch`.
    """

    kind: str
    chip: str
    devices: int
    batch: int
    mode: str = "jit"
    width: int = 64
    side: int = 160
    dtype: str = "bfloat16"
    inside_skull: bool = False
    remat: bool = False
    config: str = ""
    folds: int = 0

    @property
    def name(self) -> str:
        """Such as 'train-v5e-8-jit'."""
        extra = [self.config.rpartition("/")[2]] if self.config else []
        extra += [f"width_{self.width}"] if self.width != 64 else []
        extra += [self.mode] if self.kind == "train" else []
        extra += [f"of_{self.folds}"] if self.folds else []
        extra += ["skull"] if self.inside_skull else []
        extra += ["remat"] if self.remat else []
        extra += [self.dtype] if self.dtype != "bfloat16" else []
        return "-".join([self.kind, self.chip, str(self.devices), *extra])


def network_of(program: Program) -> tuple[Network, Config]:
    """The network, and the configuration of its training: the paper's third experiment, or the file that is named."""
    if program.config:
        path = pathlib.Path(__file__).parents[1] / "configs" / f"{program.config}.py"
        config = runpy.run_path(str(path))["get_config"]()
    else:
        side = program.side if program.kind in ("train", "folds", "validate") else PREDICTED_SIDE
        fields = {"parallel": program.mode, "train.remat": program.remat}
        config = paper_config(program.width, side, program.batch, program.dtype, **fields)
    method: Any = registry.make(config.method, config)
    return method.network, method.config


def lower(program: Program) -> jax.stages.Lowered:
    """The program as the chip's compiler gets it."""
    devices = chips.devices(program.chip, program.devices)
    with xla.compile_for(chips.CHIPS[program.chip].platform), xla_convolutions_only():
        return _LOWER_KIND[program.kind](program, *network_of(program), parallel.make_mesh(devices))


def flops(program: Program) -> int | None:
    """Operations of one device, of the layers as the paper has them; None for a scan, whose empty patches are data."""
    network, config = network_of(program)
    if program.kind not in ("train", "network"):
        return None
    with xla.compile_for("gpu"), xla_convolutions_only():
        if program.kind == "train":
            function: Callable = _step_maker(network, config)(axis=None)
            inputs: tuple = (states.shapes(network, config), batch_shapes(network, config))
        else:
            function, inputs = network.probability, (network.shapes(PREDICTED_SIDE), _images(network, program))
        return count_flops(jax.jit(function).trace(*inputs).jaxpr) // program.devices


def _place(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _step_maker(network: Network, config: Config) -> Callable:
    return programs.step_maker(network, config, states.make_schedule(config, TOTAL_STEPS))


def batch_shapes(network: Network, config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch as the loader gives it: patches, or stacks of slices."""
    count, hu = config.train.batch_size, network.hu_shape(config.patch.side)
    kinds = {"image": (hu, jnp.int16), "mask": (hu if network.stack else hu[:2], jnp.uint8)}
    kinds |= {"index": ((), jnp.int32), "weight": ((), jnp.float32)}
    kinds |= {"slices": ((), jnp.int32)} if network.stack else {}
    return {name: jax.ShapeDtypeStruct((count, *shape), dtype) for name, (shape, dtype) in kinds.items()}


def _images(network: Network, program: Program) -> jax.ShapeDtypeStruct:
    one = network.input_shape(PREDICTED_SIDE)
    return jax.ShapeDtypeStruct((program.batch, *one.shape[1:]), one.dtype)


def _lower_training(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    step: Any = parallel.compile_step(_step_maker(network, config), mode=program.mode, mesh=mesh)
    state, batch = _place(states.shapes(network, config), parallel.replicated(mesh)), batch_shapes(network, config)
    if program.mode == "pmap":
        split = lambda x: jax.ShapeDtypeStruct((mesh.size, x.shape[0] // mesh.size, *x.shape[1:]), x.dtype)  # noqa: E731
        return step.lower(states.shapes(network, config), jax.tree.map(split, batch))
    return step.lower(state, _place(batch, NamedSharding(mesh, PartitionSpec(parallel.AXIS))))


def _lower_folds(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    folds, rows = fold_programs.fold_mesh(program.folds, list(mesh.devices.flat))
    trainings = [fold_programs.Training(config.seed, TOTAL_STEPS)] * program.folds
    fold_step = fold_programs.make_fold_step(network, config, trainings)
    step: Any = fold_programs.compile_folds(fold_step, mesh=folds, rows=rows)
    sharding = NamedSharding(folds, PartitionSpec(fold_programs.FOLD_AXIS))
    row = {fold_programs.TRAINING_ROW: jax.ShapeDtypeStruct((), jnp.int32)}
    arguments = (states.shapes(network, config), batch_shapes(network, config) | row)
    stack = lambda x: jax.ShapeDtypeStruct((folds.size * rows, *x.shape), x.dtype, sharding=sharding)  # noqa: E731
    return step.lower(*jax.tree.map(stack, arguments))


def _lower_validation(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    everywhere = parallel.replicated(mesh)
    step: Any = xla.jit(steps.make_validation_step(network), out_shardings=everywhere)
    batch = _place(batch_shapes(network, config), NamedSharding(mesh, PartitionSpec(parallel.AXIS)))
    return step.lower(_place(network.shapes(config.patch.side), everywhere), batch)


def _lower_network(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    sharding = parallel.replicated(mesh)
    predict: Any = xla.jit(network.probability)
    return predict.lower(*_place((network.shapes(PREDICTED_SIDE), _images(network, program)), sharding))


def _lower_scan(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    step = slices.DEPTH_STEP * mesh.size
    whole = (-(-SCAN_SLICES // step) * step, MATRIX, MATRIX)  # padded, as in a prediction
    options = {"side": PREDICTED_SIDE, "stride": PREDICTED_SIDE // 2, "batch_size": program.batch}
    devices = list(mesh.devices.flat)
    predictor = slices.SlicePredictor(network, **options, inside_skull=program.inside_skull, devices=devices)
    like = jax.ShapeDtypeStruct
    arguments = (network.shapes(PREDICTED_SIDE), like(whole, jnp.int16), like((), jnp.int32), View(None))
    return predictor.lower(*_place((*arguments, like((3,), jnp.float32)), parallel.replicated(mesh)))


def _lower_scores(program: Program, network: Network, config: Config, mesh: Mesh) -> jax.stages.Lowered:
    like, whole = jax.ShapeDtypeStruct, (SCAN_SLICES, MATRIX, MATRIX)
    score: Any = xla.jit(functools.partial(metrics.score, closing=5, opening=5))
    arguments = (like(whole, jnp.float32), like(whole, jnp.bool_), like((9,), jnp.float32))
    return score.lower(*_place(arguments, parallel.replicated(mesh)))


_LOWER_KIND = {
    "train": _lower_training,
    "folds": _lower_folds,
    "validate": _lower_validation,
    "network": _lower_network,
    "scan": _lower_scan,
    "scores": _lower_scores,
}
