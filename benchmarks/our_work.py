"""The measured work, done by ichjax through its public functions; the peers' modules do the same work."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from tqdm import tqdm

from benchmarks import keras_pipeline as host
from ichjax import config as configs
from ichjax import xla
from ichjax.config import Config
from ichjax.data import dataset as datasets
from ichjax.data import loader, regrid, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.methods.slices import SlicePredictor, pad_depth
from ichjax.models import unet
from ichjax.ops import metrics
from ichjax.scan import nifti
from ichjax.train import epoch as epochs_run
from ichjax.train import parallel, programs
from ichjax.train import state as states
from ichjax.train import step as steps_of
from ichjax.train.interrupt import Watch
from ichjax.train.resident import ResidentScans

TOTAL_STEPS = 1000  # of the learning-rate schedule


def paper_config(width: int, side: int, batch: int, dtype: str = "float32", **fields: object) -> Config:
    """The paper's third experiment in another size; `fields` by their dotted names, {'train.negatives': 'none'}."""
    config = configs.default()
    sizes = {"model.base_width": width, "patch.side": side, "train.batch_size": batch, "model.dtype": dtype}
    config.update_from_flattened_dict({**sizes, **fields})
    return config


def noise_batch(config: Config) -> loader.Batch:
    """A batch of noise in the range of the brain window."""
    size, side = config.train.batch_size, config.patch.side
    image = np.random.default_rng(0).integers(-40, 130, (size, side, side)).astype(np.int16)
    return {
        "image": image,
        "mask": (image > 100).astype(np.uint8),
        "index": np.arange(size, dtype=np.int32),
        "weight": np.ones(size, np.float32),
    }


def training_program(config: Config, mesh: Mesh) -> tuple[Callable, states.TrainState]:
    """(the training step as a run compiles it, with augmentation; the first state, replicated over the mesh)."""
    network = unet.network_from_config(config)
    make_step = programs.step_maker(network, config, _schedule(config))
    grouped = config.train.steps_per_dispatch > 1
    step = parallel.compile_step(make_step, mode=config.parallel, mesh=mesh, grouped=grouped)
    return step, parallel.replicate(states.create(network, config, fold=0), mesh)


def _schedule(config: Config) -> optax.Schedule:
    return states.make_schedule(config, TOTAL_STEPS)


def save_weights(path: str | pathlib.Path, width: int, *, seed: int = 0) -> None:
    """Writes the network's initial parameters as an .npz of 'LAYER/kernel' and 'LAYER/bias', which the peers read."""
    config = paper_config(width, 32, 1, seed=seed)
    params = jax.device_get(states.create(unet.network_from_config(config), config, fold=0).params)
    np.savez(path, **{f"{layer}/{kind}": array for layer, own in params.items() for kind, array in own.items()})


def _bare_step(config: Config) -> Callable:
    """step(state, images [B, P, P, 1], masks [B, P, P]) -> (state, loss): `step.make_train_step` without windowing and
    augmentation, which the peers' steps lack too."""
    network, optimizer = unet.network_from_config(config), states.make_optimizer(_schedule(config))

    def loss_of(params: dict, images: jax.Array, masks: jax.Array, state: states.TrainState) -> jax.Array:
        keys = steps_of.example_keys(config.seed, state.fold, state.step, jnp.arange(len(images)))
        return network.loss(params, images, masks, dropout_keys=keys).mean()

    def step(state: states.TrainState, images: jax.Array, masks: jax.Array) -> tuple[states.TrainState, jax.Array]:
        loss, gradient = jax.value_and_grad(loss_of)(state.params, images, masks, state)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss

    return xla.jit(step, donate_argnums=0)


def train_step(*, width: int, side: int, batch: int, steps: int, dtype: str = "float32") -> Callable[[], dict]:
    """Prepares training steps on a batch that is already in the device's memory.

    Args:
      width: of the network's first level.
      side: of the patches, in pixels.
      batch: patches per step.
      steps: per round.
      dtype: of the computation, 'float32' or 'bfloat16'.

    Returns:
      A function that runs one round and returns {'loss'}.
    """
    config = paper_config(width, side, batch, dtype)
    step, holder = _bare_step(config), [states.create(unet.network_from_config(config), config, fold=0)]
    images, masks = (jax.device_put(array) for array in host.example_batch(batch, side))
    masks = masks[..., 0]

    def work() -> dict:
        for _ in range(steps):
            holder[0], loss = step(holder[0], images, masks)
        jax.block_until_ready((holder[0], loss))
        return {"loss": float(loss)}

    return work


def forward(*, width: int, side: int, batch: int, steps: int = 1, dtype: str = "float32") -> Callable[[], dict]:
    """Prepares predictions of a batch, `steps` per round; the arguments are those of `train_step`."""
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
    resident: bool = False,
) -> Callable[[], dict]:
    """Prepares epochs on patches with a hemorrhage, read by grain, windowed and augmented on the device.

    Args:
      root: a data set in the nifti layout.
      width, side, batch, dtype: as in `train_step`.
      stride: of the patches, in pixels.
      examples: maximum number of patches per epoch, 0 for all; an incomplete last batch is dropped.
      steps_per_dispatch: as in `config.train`.
      threads: of grain.
      resident: the devices hold the scans and cut the patches, as with `config.train.resident`.

    Returns:
      A function that runs one epoch and returns {'patches', 'loss', 'wait_share'}, the last one being the share of the
      time spent waiting for patches.

    Raises:
      ValueError: a scan cannot be read.
    """
    fields = {"patch.stride": stride, "train.negatives": "none", "train.steps_per_dispatch": steps_per_dispatch}
    config = paper_config(width, side, batch, dtype, **fields)
    scans, problems = scan_cache.open_scans(datasets.read_dataset(pathlib.Path(root)).subjects)
    if problems:
        raise ValueError("; ".join(problems.values()))
    table = patch_table(scans, side=side, stride=stride)
    order = Epochs(table, config.train.negatives, config.seed, 0, examples)
    reader, steps, mesh, numbers = loader.PatchReader(scans, table), order.steps(batch), parallel.make_mesh(), [0]
    program, state = training_program(config, mesh)
    holder = [state]
    del state  # its buffers are donated
    grouped = steps_per_dispatch > 1
    held = ResidentScans(reader, mesh, mode=config.parallel, grouped=grouped) if resident else None

    def work() -> dict:
        first, end = numbers[0] * steps, (numbers[0] + 1) * steps
        reading = {"threads": threads, "group": steps_per_dispatch}
        source = held or reader
        batches = loader.training_batches(source, order, batch_size=batch, start_step=first, stop_step=end, **reading)
        if held:
            batches = held.batches(batches)
        else:
            batches = parallel.prefetch(batches, mode=config.parallel, mesh=mesh, grouped=grouped)
        now, bar = epochs_run.Epoch(first, []), tqdm(disable=True)
        holder[0] = epochs_run.run_epoch(
            program,
            holder[0],
            batches,
            now,
            stop=end,
            batch_size=batch,
            watch=Watch(),
            bar=bar,
            on_update=_check_finite,
        )
        jax.block_until_ready(holder[0])
        numbers[0] += 1
        return {"patches": now.examples, "loss": now.row()["loss"], "wait_share": now.row()["wait_share"]}

    return work


def _check_finite(step: int, update: dict) -> None:
    if not update["finite"]:
        raise ValueError(f"step {step}: loss {update['loss']}; expected a finite one")


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
    """Prepares a scan's prediction: `SlicePredictor`, closing and opening, volume.

    Args:
      scan: a NIfTI file.
      width, side, dtype: as in `train_step`.
      stride: of the patches, in pixels.
      batch: patches per batch.
      whole_slices: runs the network once over each slice instead of its patches, which is another function.
      threshold: of the probability.
      weights: a file of `save_weights`; None for initial parameters.
      from_disk: reads the file in each round instead of once in advance.

    Returns:
      A function that predicts once and returns {'volume_ml', 'pixels', 'peak_mb'}: the mask's volume and size, and the
      process's peak host memory.
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
