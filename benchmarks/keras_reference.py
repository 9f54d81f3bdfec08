"""The authors' network in Keras 3 and what they do with it: steps, epochs, prediction. KERAS_BACKEND chooses the
backend (tensorflow, torch or jax) before this module is imported.

Written from the facts of the authors' code, apart from ichjax/models/unet.py; only the names of layers are the same.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

from benchmarks import keras_pipeline as host


def unet(*, width: int = 64, side: int = 160, dropout: float = 0.5) -> keras.Model:
    """The network, float [B, P, P, 1] to the probability float32 [B, P, P, 1].

    Args:
      width: channels of the first level; 64 gives 31,031,685 parameters.
      side: P, a multiple of 16.
      dropout: after the fourth level (before its skip connection is taken) and after the bottleneck.
    """
    images = keras.Input((side, side, 1))
    x, skips = images, []
    for level in range(4):
        x = _two(x, width * 2**level, f"encoder{level + 1}")
        if level == 3:
            x = layers.Dropout(dropout)(x)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(dropout)(_two(x, width * 16, "bottleneck"))
    for level in (3, 2, 1, 0):
        x = layers.UpSampling2D(2)(x)
        x = layers.concatenate([skips[level], _convolution(x, width * 2**level, 2, f"up{level + 1}")])
        x = _two(x, width * 2**level, f"decoder{level + 1}")
    x = _convolution(x, 2, 3, "head")
    x = _convolution(x, 1, 1, "logit", activation=None)
    return keras.Model(images, layers.Activation("sigmoid", dtype="float32", name="probability")(x))


def _two(x, width: int, name: str):
    """Two 3 x 3 convolutions."""
    return _convolution(_convolution(x, width, 3, f"{name}_conv1"), width, 3, f"{name}_conv2")


def _convolution(x, width: int, side: int, name: str, activation: str | None = "relu"):
    options = {"padding": "same", "kernel_initializer": "he_normal", "activation": activation}
    return layers.Conv2D(width, side, name=name, **options)(x)


def compile_training(model: keras.Model, *, jit_compile: bool | str = "auto") -> None:
    """Adam at 1e-5 with the authors' inverse time decay, mean binary cross-entropy.

    Args:
      model: of `unet`.
      jit_compile: whether Keras compiles by XLA (torch.compile with torch); 'auto' is what a user gets.
    """
    rate = keras.optimizers.schedules.InverseTimeDecay(
        host.LEARNING_RATE, decay_steps=1, decay_rate=host.LEARNING_RATE / host.EPOCHS
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", jit_compile=jit_compile)


def load_ours(model: keras.Model, params: Mapping) -> None:
    """Copies parameters of ichjax, {layer: {'kernel', 'bias'}}, into the model.

    Raises:
      ValueError: the layers are not the same.
    """
    own = {layer.name: layer for layer in model.layers if layer.weights}
    if own.keys() != params.keys():
        raise ValueError(f"layers {sorted(params)}; expected {sorted(own)}")
    for name, layer in own.items():
        layer.set_weights([np.asarray(params[name]["kernel"]), np.asarray(params[name]["bias"])])


def _network(width: int, side: int, dtype: str, jit_compile: bool | str, weights: str | None = None) -> keras.Model:
    """Ready to train or to predict; `dtype` is that of the computation."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype if dtype == "float32" else f"mixed_{dtype}")
    model = unet(width=width, side=side)
    compile_training(model, jit_compile=jit_compile)
    if weights is not None:
        load_ours(model, host.read_weights(weights))
    return model


def _said(model: keras.Model) -> dict:
    return {"backend": keras.backend.backend(), "jit_compile": bool(model.jit_compile)}


def train_step(
    *, width: int, side: int, batch: int, steps: int, dtype: str = "float32", jit_compile: bool | str = "auto"
) -> Callable[[], dict]:
    """Work of `steps` training steps by `train_on_batch`, on a batch that is in the device's memory already.

    Args:
      width, side: of `unet`.
      batch: patches a step.
      steps: a round.
      dtype: 'float32' or 'bfloat16', of the computation.
      jit_compile: as in `compile_training`.

    Returns:
      The work, which says 'loss', 'backend' and whether XLA compiled ('jit_compile').
    """
    model = _network(width, side, dtype, jit_compile)
    images, masks = (keras.ops.convert_to_tensor(array) for array in host.example_batch(batch, side))

    def work() -> dict:
        model.reset_metrics()
        for _ in range(steps):
            loss = model.train_on_batch(images, masks)
        return {"loss": float(loss), **_said(model)}

    return work


def forward(
    *, width: int, side: int, batch: int, steps: int = 1, dtype: str = "float32", jit_compile: bool | str = "auto"
) -> Callable[[], dict]:
    """Work of `steps` predictions of a batch by `predict_on_batch`; the arguments are those of `train_step`."""
    model = _network(width, side, dtype, jit_compile)
    images = keras.ops.convert_to_tensor(host.example_batch(batch, side)[0])

    def work() -> dict:
        for _ in range(steps):
            probability = model.predict_on_batch(images)
        return {"mean": float(np.mean(probability)), **_said(model)}

    return work


class PatchFiles(keras.utils.PyDataset):
    """Batches of patches read from disk and augmented on the host, in a new order each epoch."""

    def __init__(self, files: list[tuple[str, str]], *, batch: int, workers: int):
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
    """Work of an epoch by `fit`: patches with a hemorrhage read from disk and augmented on the host.

    Args:
      root: a data set in the nifti layout.
      width, side: of `unet`; stride: of the patches, in pixels.
      batch: patches a step; what fills no batch is left out.
      examples: patches of the epoch at most, 0 for all.
      dtype, jit_compile: as in `train_step`.
      workers: threads that read; Keras reads in the training thread's own pipeline where it is 1.

    Returns:
      The work, which says 'patches', 'loss', 'backend', 'jit_compile'.
    """
    model = _network(width, side, dtype, jit_compile)
    files = host.write_positive_patches(root, side=side, stride=stride)
    data = PatchFiles(files[: examples or None], batch=batch, workers=workers)

    def work() -> dict:
        history = model.fit(data, epochs=1, verbose=0, shuffle=False)
        return {"patches": len(data) * batch, "loss": float(history.history["loss"][0]), **_said(model)}

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
    """Work of a scan's prediction: patches, `predict`, stitching in NumPy, OpenCV's morphology, volume.

    Args:
      scan: a NIfTI file.
      width, side: of `unet`; stride: of the patches, in pixels.
      one_at_a_time: one patch a call of `predict`, as the authors do; else all patches in one call.
      batch: patches that go through the network at once, where they go together.
      threshold: of the probability.
      dtype, jit_compile: as in `train_step`.
      weights: a file of `our_work.save_weights`; None for fresh ones.
      from_disk: whether the file is read in each round, or once beforehand.

    Returns:
      The work, which says 'volume_ml', 'pixels' of the mask, 'peak_mb', 'backend', 'jit_compile'.
    """
    model = _network(width, side, dtype, jit_compile, weights)
    read = host.read_scan(scan)
    predict = lambda images: model.predict(images, batch_size=batch, verbose=0)  # noqa: E731

    def work() -> dict:
        hu, voxel_ml = host.read_scan(scan) if from_disk else read
        probability = host.probabilities(predict, hu, side=side, stride=stride, one_at_a_time=one_at_a_time)
        pixels = int(host.mask_of(probability, threshold=threshold).sum())
        return {"volume_ml": pixels * voxel_ml, "pixels": pixels, "peak_mb": host.peak_memory_mb(), **_said(model)}

    return work
