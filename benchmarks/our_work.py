"""The pieces of work of the peers, done by ichjax through its own public functions."""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from tqdm import tqdm

from benchmarks import keras_pipeline as host
from ichjax import config as configs
from ichjax import xla
from ichjax.data import dataset as datasets
from ichjax.data import loader, regrid, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.methods.slices import SlicePredictor, pad_depth
from ichjax.models import unet
from ichjax.ops import metrics
from ichjax.ops.augment import AffineRange
from ichjax.scan import nifti
from ichjax.train import epoch as epochs_run
from ichjax.train import parallel
from ichjax.train import state as states
from ichjax.train import step as steps_of
from ichjax.train.interrupt import Watch


def paper_config(width: int, side: int, batch: int, dtype: str = "float32", **fields) -> ml_collections.ConfigDict:
    """The paper's third experiment in another size; `fields` by their dotted names, {'train.negatives': 'none'}."""
    config = configs.default()
    sizes = {"model.base_width": width, "patch.side": side, "train.batch_size": batch, "model.dtype": dtype}
    config.update_from_flattened_dict({**sizes, **fields})
    return config


def save_weights(path: str | pathlib.Path, width: int, *, seed: int = 0) -> None:
    """Writes fresh parameters of the network as an .npz of 'LAYER/kernel' and 'LAYER/bias', which the peers read."""
    config = paper_config(width, 32, 1, seed=seed)
    params = jax.device_get(states.create(unet.network_from_config(config), config, fold=0).params)
    np.savez(path, **{f"{layer}/{kind}": array for layer, own in params.items() for kind, array in own.items()})


def _update(config: ml_collections.ConfigDict) -> Callable:
    """step(state, images [B, P, P, 1], masks [B, P, P]) -> (state, loss): the parts of `step.make_train_step`
    without its window and its augmentation, which the peers' steps do not have either."""
    network, optimizer = unet.network_from_config(config), states.make_optimizer(states.make_schedule(config, 1000))

    def loss_of(params, images, masks, state):
        keys = steps_of.example_keys(config.seed, state.fold, state.step, jnp.arange(len(images)))
        return network.loss(params, images, masks, dropout_keys=keys).mean()

    def step(state, images, masks):
        loss, gradient = jax.value_and_grad(loss_of)(state.params, images, masks, state)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss

    return xla.jit(step, donate_argnums=0)


def train_step(*, width: int, side: int, batch: int, steps: int, dtype: str = "float32") -> Callable[[], dict]:
    """Work of `steps` training steps, on a batch that is in the device's memory already.

    Args:
      width: of the network's first level; side: of the patches, in pixels.
      batch: patches a step.
      steps: a round.
      dtype: 'float32' or 'bfloat16', of the computation.

    Returns:
      The work, which says 'loss'.
    """
    config = paper_config(width, side, batch, dtype)
    step, holder = _update(config), [states.create(unet.network_from_config(config), config, fold=0)]
    images, masks = (jax.device_put(array) for array in host.example_batch(batch, side))
    masks = masks[..., 0]

    def work() -> dict:
        for _ in range(steps):
            holder[0], loss = step(holder[0], images, masks)
        jax.block_until_ready((holder[0], loss))
        return {"loss": float(loss)}

    return work


def forward(*, width: int, side: int, batch: int, steps: int = 1, dtype: str = "float32") -> Callable[[], dict]:
    """Work of `steps` predictions of a batch; the arguments are those of `train_step`."""
    config = paper_config(width, side, batch, dtype)
    network = unet.network_from_config(config)
    params, predict = states.create(network, config, fold=0).params, xla.jit(network.probability)
    images = jax.device_put(host.example_batch(batch, side)[0])

    def work() -> dict:
        for _ in range(steps):
            probability = predict(params, images)
        return {"mean": float(probability.mean())}

    return work


def train_epoch(
    *,
    root: str,
    width: int,
    side: int,
    stride: int,
    batch: int,
    examples: int = 0,
    dtype: str = "float32",
    steps_per_dispatch: int = 1,
    threads: int = 2,
) -> Callable[[], dict]:
    """Work of an epoch: patches with a hemorrhage read by grain, windowed and augmented on the device.

    Args:
      root: a data set in the nifti layout.
      width, side, batch, dtype: as in `train_step`; stride: of the patches, in pixels.
      examples: patches of the epoch at most, 0 for all; what fills no batch is left out.
      steps_per_dispatch: as in `config.train`.
      threads: of grain.

    Returns:
      The work, which says 'patches', 'loss' and 'wait_share', the share of the time spent on waiting for patches.
    """
    fields = {"patch.stride": stride, "train.negatives": "none", "train.steps_per_dispatch": steps_per_dispatch}
    config = paper_config(width, side, batch, dtype, **fields)
    scans, problems = scan_cache.open_scans(datasets.read_dataset(pathlib.Path(root)).subjects)
    if problems:
        raise ValueError("; ".join(problems.values()))
    table = patch_table(scans, side=side, stride=stride)
    order = Epochs(table, config.train.negatives, config.seed, 0, examples)
    reader, steps, mesh, numbers = loader.PatchReader(scans, table), order.steps(batch), parallel.make_mesh(), [0]
    program = _whole_step(config, mesh)
    holder = [parallel.replicate(states.create(unet.network_from_config(config), config, fold=0), mesh)]
    grouped = steps_per_dispatch > 1

    def work() -> dict:
        first, end = numbers[0] * steps, (numbers[0] + 1) * steps
        reading = {"threads": threads, "group": steps_per_dispatch}
        batches = loader.training_batches(reader, order, batch_size=batch, start_step=first, stop_step=end, **reading)
        batches = parallel.prefetch(batches, mode=config.parallel, mesh=mesh, grouped=grouped)
        now, bar = epochs_run.Epoch(first, []), tqdm(disable=True)
        holder[0] = epochs_run.run_epoch(
            program, holder[0], batches, now, stop=end, batch_size=batch, watch=Watch(), bar=bar, on_update=_finite
        )
        jax.block_until_ready(holder[0])
        numbers[0] += 1
        return {"patches": now.examples, "loss": now.row()["loss"], "wait_share": now.row()["wait_share"]}

    return work


def _finite(step: int, update: dict) -> None:
    if not update["finite"]:
        raise ValueError(f"step {step}: loss {update['loss']}; expected a finite one")


def _whole_step(config: ml_collections.ConfigDict, mesh) -> Callable:
    """The training step of a run, augmentation and all, compiled as a run compiles it."""
    optimizer = states.make_optimizer(states.make_schedule(config, 1000))
    settings = steps_of.StepSettings(AffineRange(**config.augment), config.seed)
    make_step = functools.partial(steps_of.make_train_step, unet.network_from_config(config), optimizer, settings)
    return parallel.compile_step(
        make_step, mode=config.parallel, mesh=mesh, grouped=config.train.steps_per_dispatch > 1
    )


def predict_scan(
    *,
    scan: str,
    width: int,
    side: int,
    stride: int,
    batch: int = 32,
    whole_slices: bool = False,
    threshold: float = 0.5,
    dtype: str = "float32",
    weights: str | None = None,
    from_disk: bool = False,
) -> Callable[[], dict]:
    """Work of a scan's prediction: `SlicePredictor`, closing and opening, volume.

    Args:
      scan: a NIfTI file.
      width, side, dtype: as in `train_step`; stride: of the patches, in pixels.
      batch: patches that go through the network at once.
      whole_slices: the network once over each slice in place of its patches: another function.
      threshold: of the probability.
      weights: a file of `save_weights`; None for fresh ones.
      from_disk: whether the file is read in each round, or once beforehand.

    Returns:
      The work, which says 'volume_ml', 'pixels' of the mask, 'peak_mb' of the host.
    """
    config = paper_config(width, side, 1, dtype)
    network = unet.network_from_config(config)
    predict = SlicePredictor(network, side=side, stride=stride, batch_size=batch, whole_slices=whole_slices)
    params = host.read_weights(weights) if weights else states.create(network, config, fold=0).params
    params, read = predict.replicate(params), nifti.read_nifti(pathlib.Path(scan))
    kernels = {"closing": config.predict.closing_px, "opening": config.predict.opening_px}
    clean = jax.jit(lambda probability: metrics.masks_at(probability, jnp.float32([threshold]), **kernels)[0])

    def work() -> dict:
        volume = nifti.read_nifti(pathlib.Path(scan)) if from_disk else read
        grid = regrid.own_grid(volume)
        mask = np.asarray(clean(pad_depth(predict(params, volume.hu, grid, grid), 0.0)))[: len(volume.hu)]
        pixels = mask.sum(axis=(1, 2))
        return {
            "volume_ml": float(pixels @ volume.pixel_ml),
            "pixels": int(pixels.sum()),
            "peak_mb": host.peak_memory_mb(),
        }

    return work
