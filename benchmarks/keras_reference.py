"""The authors' network in Keras 3, with its training steps, epochs and prediction.

KERAS_BACKEND (tensorflow, torch or jax) selects the backend when this module is imported. The code follows what the
authors' code does and shares only the layer names with ichjax/models/unet.py.
"""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

from benchmarks import keras_pipeline as host


def unet(*, width: int = 64, side: int = 160, dropout: float = 0.5) -> keras.Model:
    """The network: float [B, P, P, 1] to probability float32 [B, P, P, 1].

    Args:
      width: channels of the first level; 64 gives 31,031,685 parameters.
      side: P, a multiple of 16.
      dropout: after the fourth level (before its skip connection is taken) and after the bottleneck.
    """
    images = keras.Input((side, side, 1))
    x, skips = images, []
    for level in range(4):
        x = _double_convolution(x, width * 2**level, f"encoder{level + 1}")
        if level == 3:
            x = layers.Dropout(dropout)(x)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(dropout)(_double_convolution(x, width * 16, "bottleneck"))
    for level in (3, 2, 1, 0):
        x = layers.UpSampling2D(2)(x)
        x = layers.concatenate([skips[level], _convolution(x, width * 2**level, 2, f"up{level + 1}")])
        x = _double_convolution(x, width * 2**level, f"decoder{level + 1}")
    x = _convolution(x, 2, 3, "head")
    x = _convolution(x, 1, 1, "logit", activation=None)
    return keras.Model(images, layers.Activation("sigmoid", dtype="float32", name="probability")(x))


def _double_convolution(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    return _convolution(_convolution(x, width, 3, f"{name}_conv1"), width, 3, f"{name}_conv2")


def _convolution(
    x: keras.KerasTensor, width: int, side: int, name: str, activation: str | None = "relu"
) -> keras.KerasTensor:
    options = {"padding": "same", "kernel_initializer": "he_normal", "activation": activation}
    return layers.Conv2D(width, side, name=name, **options)(x)


def compile_training(model: keras.Model, *, jit_compile: bool | str = "auto") -> None:
    """Compiles for Adam at 1e-5 with the authors' inverse time decay, and mean binary cross-entropy.

    Args:
      model: from `unet`.
      jit_compile: whether Keras compiles with XLA (torch.compile with torch); 'auto' is what a user gets.
    """
    rate = keras.optimizers.schedules.InverseTimeDecay(
        host.LEARNING_RATE, decay_steps=1, decay_rate=host.LEARNING_RATE / host.EPOCHS
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", jit_compile=jit_compile)


def load_ours(model: keras.Model, params: Mapping) -> None:
    """Copies ichjax's parameters, {layer: {'kernel', 'bias'}}, into the model; raises ValueError if layers differ."""
    own = {layer.name: layer for layer in model.layers if layer.weights}
    if own.keys() != params.keys():
        raise ValueError(f"layers {sorted(params)}; expected {sorted(own)}")
    for name, layer in own.items():
        layer.set_weights([np.asarray(params[name]["kernel"]), np.asarray(params[name]["bias"])])


def _network(width: int, side: int, dtype: str, jit_compile: bool | str, weights: str | None = None) -> keras.Model:
    """The network, ready to train or predict; `dtype` is that of the computation."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype if dtype == "float32" else f"mixed_{dtype}")
    model = unet(width=width, side=side)
    compile_training(model, jit_compile=jit_compile)
    if weights is not None:
        load_ours(model, host.read_weights(weights))
    return model


def _facts(model: keras.Model) -> dict:
    """How the model runs; 'jit_compile' is whether XLA compiled it."""
    return {"backend": keras.backend.backend(), "jit_compile": bool(model.jit_compile)}


def train_step(
    *, width: int, side: int, batch: int, steps: int, dtype: str = "float32", jit_compile: bool | str = "auto"
) -> Callable[[], dict]:
    """`our_work.train_step` with `train_on_batch`; `jit_compile` as in `compile_training`.

    The round returns {'loss'} and the facts of `_facts`, as all rounds of this module.
    """
    model = _network(width, side, dtype, jit_compile)
    images, masks = (keras.ops.convert_to_tensor(array) for array in host.example_batch(batch, side))

    def work() -> dict:
        model.reset_metrics()
        for _ in range(steps):
            loss = model.train_on_batch(images, masks)
        return {"loss": float(loss), **_facts(model)}

    return work


def forward(
    *, width: int, side: int, batch: int, steps: int = 1, dtype: str = "float32", jit_compile: bool | str = "auto"
) -> Callable[[], dict]:
    """`our_work.forward` with `predict_on_batch`."""
    model = _network(width, side, dtype, jit_compile)
    images = keras.ops.convert_to_tensor(host.example_batch(batch, side)[0])

    def work() -> dict:
        for _ in range(steps):
            probability = model.predict_on_batch(images)
        return {"mean": float(np.mean(probability)), **_facts(model)}

    return work


class PatchFiles(keras.utils.PyDataset):
    """Batches of patches read from disk and augmented on the host, in a new order each epoch."""

    def __init__(self, files: list[tuple[str, str]], *, batch: int, workers: int) -> None:
        super().__init__(workers=workers)
        self._files, self._batch, self._epoch = files, batch, 0
        self._order = np.random.default_rng(0).permutation(len(files))

    def __len__(self) -> int:
        return len(self._files) // self._batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._batch : (index + 1) * self._batch]
        return host.read_batch(self._files, rows, np.random.default_rng([self._epoch, index]))

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = np.random.default_rng(self._epoch).permutation(len(self._files))


def train_epoch(
    *,
    root: str,
    width: int,
    side: int,
    stride: int,
    batch: int,
    examples: int = 0,
    dtype: str = "float32",
    jit_compile: bool | str = "auto",
    workers: int = 1,
) -> Callable[[], dict]:
    """`our_work.train_epoch` with `fit`, on patches read from disk and augmented on the host.

    Args:
      root, width, side, stride, batch, examples, dtype: as there.
      jit_compile: as in `compile_training`.
      workers: reading threads; with 1, Keras reads in the training thread.

    Returns:
      A function that runs one epoch and returns {'patches', 'loss', ...}.
    """
    model = _network(width, side, dtype, jit_compile)
    files = host.write_positive_patches(root, side=side, stride=stride)
    data = PatchFiles(files[: examples or None], batch=batch, workers=workers)

    def work() -> dict:
        history = model.fit(data, epochs=1, verbose=0, shuffle=False)
        return {"patches": len(data) * batch, "loss": float(history.history["loss"][0]), **_facts(model)}

    return work


def predict_scan(
    *,
    scan: str,
    width: int,
    side: int,
    stride: int,
    one_at_a_time: bool = False,
    batch: int = 32,
    threshold: float = 0.5,
    dtype: str = "float32",
    jit_compile: bool | str = "auto",
    weights: str | None = None,
    from_disk: bool = False,
) -> Callable[[], dict]:
    """`our_work.predict_scan` with Keras' `predict`, stitching in NumPy and OpenCV's morphology.

    Args:
      scan, width, side, stride, batch, threshold, dtype, weights, from_disk: as there.
      one_at_a_time: calls `predict` with one patch at a time, as the authors do, instead of all patches at once.
      jit_compile: as in `compile_training`.
    """
    model = _network(width, side, dtype, jit_compile, weights)

    def probability_of(hu: np.ndarray) -> np.ndarray:
        predict = functools.partial(model.predict, batch_size=batch, verbose=0)
        return host.probabilities(predict, hu, side=side, stride=stride, one_at_a_time=one_at_a_time)

    work = host.scan_work(scan, probability_of, threshold=threshold, from_disk=from_disk)
    return lambda: work() | _facts(model)
