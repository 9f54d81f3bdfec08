"""The authors' network in PyTorch, as a PyTorch user would run it, with MONAI's sliding window for prediction.

Channels are last; on a GPU the network is compiled, and bfloat16 is by autocast. The code follows what the authors'
code does and shares only the layer names with ichjax/models/unet.py.
"""

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import keras_pipeline as host

ADAM_EPSILON = 1e-7  # Keras'


class UNet(nn.Module):
    """The network: float [B, 1, P, P] to logits [B, 1, P, P]; P is a multiple of 16.

    Attributes:
      convolutions: by name, 24 of them.
    """

    def __init__(self, *, width: int = 64, dropout: float = 0.5) -> None:
        """Args: width: channels of the first level. dropout: after the fourth level (before its skip connection is
        taken) and after the bottleneck."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.convolutions = nn.ModuleDict()
        widths = [width * 2**level for level in range(5)]
        for name, before, here in zip(
            ("encoder1", "encoder2", "encoder3", "encoder4", "bottleneck"), [1, *widths], widths, strict=False
        ):
            self._add_double(name, before, here)
        for level in (4, 3, 2, 1):
            self._add(f"up{level}", widths[level], widths[level - 1], 2)
            self._add_double(f"decoder{level}", 2 * widths[level - 1], widths[level - 1])
        self._add("head", width, 2, 3)
        self._add("logit", 2, 1, 1)

    def _add_double(self, name: str, before: int, width: int) -> None:
        self._add(f"{name}_conv1", before, width, 3)
        self._add(f"{name}_conv2", width, width, 3)

    def _add(self, name: str, before: int, width: int, side: int) -> None:
        # TensorFlow pads an even kernel by one pixel at the end; `forward` adds it.
        convolution = nn.Conv2d(before, width, side, padding=side // 2 if side % 2 else 0)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)
        self.convolutions[name] = convolution

    def _level(self, x: torch.Tensor, name: str) -> torch.Tensor:
        for index in (1, 2):
            x = functional.relu(self.convolutions[f"{name}_conv{index}"](x))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        skips = []
        for level in (1, 2, 3, 4):
            x = self._level(x, f"encoder{level}")
            x = self.dropout(x) if level == 4 else x
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.dropout(self._level(x, "bottleneck"))
        for level in (4, 3, 2, 1):
            x = functional.pad(functional.interpolate(x, scale_factor=2, mode="nearest"), (0, 1, 0, 1))
            x = torch.cat([skips.pop(), functional.relu(self.convolutions[f"up{level}"](x))], dim=1)
            x = self._level(x, f"decoder{level}")
        return self.convolutions["logit"](functional.relu(self.convolutions["head"](x)))


def load_ours(model: UNet, params: Mapping) -> None:
    """Copies ichjax's parameters, {layer: {'kernel', 'bias'}}, into the model; raises ValueError if layers differ."""
    own = dict(model.convolutions.items())
    if own.keys() != params.keys():
        raise ValueError(f"layers {sorted(params)}; expected {sorted(own)}")
    with torch.no_grad():
        for name, convolution in own.items():
            convolution.weight.copy_(torch.tensor(np.asarray(params[name]["kernel"]).transpose(3, 2, 0, 1)))
            convolution.bias.copy_(torch.tensor(np.asarray(params[name]["bias"])))


class Machine:
    """A network on its device, with the precision of its computation.

    Attributes:
      device: the GPU if there is one.
      compiled: whether torch.compile is used.
      model: the `UNet`.
      network: the same as a callable, compiled or not.
    """

    def __init__(self, width: int, dtype: str, compiled: bool | None, weights: str | None = None) -> None:
        """Args: compiled: whether to use torch.compile; None: on a GPU only."""
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.compiled = self.device.type == "cuda" if compiled is None else compiled
        self._dtype = dtype
        model = UNet(width=width)
        if weights is not None:
            load_ours(model, host.read_weights(weights))
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.network = torch.compile(self.model) if self.compiled else self.model

    def precision(self) -> contextlib.AbstractContextManager:
        """Autocast, unless the computation is in float32."""
        if self._dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self._dtype))

    def place(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Copies float32 [B, P, P, 1] from the host to the device as [B, 1, P, P], channels last."""
        return torch.as_tensor(array).permute(0, 3, 1, 2).to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Waits until the device is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def facts(self) -> dict:
        """How the network runs."""
        return {"device": self.device.type, "compiled": self.compiled}


class Trainer:
    """Adam at 1e-5 with the authors' inverse time decay, and mean binary cross-entropy."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        fused = machine.device.type == "cuda"
        parameters = machine.model.parameters()
        self._optimizer = torch.optim.Adam(parameters, host.LEARNING_RATE, eps=ADAM_EPSILON, fused=fused)
        decay = host.LEARNING_RATE / host.EPOCHS
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: 1.0 / (1.0 + decay * step))

    def step(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Runs one training step on images and masks from `Machine.place`; returns the loss, on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        with self._machine.precision():
            logits = self._machine.network(images)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), masks)
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()


def train_step(
    *, width: int, side: int, batch: int, steps: int, dtype: str = "float32", compiled: bool | None = None
) -> Callable[[], dict]:
    """`our_work.train_step` in PyTorch; `compiled` as in `Machine`.

    The round returns {'loss'} and the facts of `Machine.facts`, as all rounds of this module.
    """
    machine = Machine(width, dtype, compiled)
    trainer = Trainer(machine)
    machine.network.train()
    images, masks = (machine.place(array) for array in host.example_batch(batch, side))

    def work() -> dict:
        for _ in range(steps):
            loss = trainer.step(images, masks)
        machine.wait()
        return {"loss": float(loss), **machine.facts()}

    return work


def forward(
    *, width: int, side: int, batch: int, steps: int = 1, dtype: str = "float32", compiled: bool | None = None
) -> Callable[[], dict]:
    """`our_work.forward` in PyTorch."""
    machine = Machine(width, dtype, compiled)
    machine.network.eval()
    images = machine.place(host.example_batch(batch, side)[0])

    def work() -> dict:
        with torch.inference_mode(), machine.precision():
            for _ in range(steps):
                probability = torch.sigmoid(machine.network(images).float())
        machine.wait()
        return {"mean": float(probability.mean()), **machine.facts()}

    return work


class PatchFiles(torch.utils.data.Dataset):
    """Patches read from disk and augmented on the host one by one, at random by `epoch` and index."""

    def __init__(self, files: list[tuple[str, str]]) -> None:
        self._files, self.epoch = files, 0

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return host.read_patch(self._files[index], np.random.default_rng([self.epoch, index]))


def train_epoch(
    *,
    root: str,
    width: int,
    side: int,
    stride: int,
    batch: int,
    examples: int = 0,
    dtype: str = "float32",
    compiled: bool | None = None,
    workers: int = 0,
) -> Callable[[], dict]:
    """`our_work.train_epoch` with a DataLoader, on patches read from disk and augmented on the host.

    Args:
      root, width, side, stride, batch, examples, dtype: as there.
      compiled: as in `Machine`.
      workers: reading processes; 0 reads in this one.

    Returns:
      A function that runs one epoch and returns {'patches', 'loss', ...}.
    """
    machine = Machine(width, dtype, compiled)
    trainer = Trainer(machine)
    machine.network.train()
    files = host.write_positive_patches(root, side=side, stride=stride)
    data = PatchFiles(files[: examples or None])
    pinned = machine.device.type == "cuda"
    loader = torch.utils.data.DataLoader(
        data, batch, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pinned
    )

    def work() -> dict:
        total = torch.zeros((), device=machine.device)
        for images, masks in loader:
            total += trainer.step(machine.place(images), machine.place(masks))
        machine.wait()
        data.epoch += 1
        return {"patches": len(loader) * batch, "loss": float(total) / len(loader), **machine.facts()}

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
    compiled: bool | None = None,
    weights: str | None = None,
    from_disk: bool = False,
) -> Callable[[], dict]:
    """`our_work.predict_scan` with MONAI's sliding window and OpenCV's morphology.

    Args:
      scan, width, side, stride, batch, threshold, dtype, weights, from_disk: as there.
      one_at_a_time: one patch per batch instead of `batch`.
      compiled: as in `Machine`.
    """
    from monai.inferers import sliding_window_inference  # lazily: it takes seconds to import

    machine = Machine(width, dtype, compiled, weights)
    machine.network.eval()
    windows = {"roi_size": (side, side), "sw_batch_size": 1 if one_at_a_time else batch, "overlap": 1 - stride / side}

    def predictor(images: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(machine.network(images).float())

    def probability_of(hu: np.ndarray) -> np.ndarray:
        slices = machine.place(host.windowed(hu)[..., None])
        with torch.inference_mode(), machine.precision():
            probability = sliding_window_inference(slices, predictor=predictor, **windows)
        return probability[:, 0].cpu().numpy()

    work = host.scan_work(scan, probability_of, threshold=threshold, from_disk=from_disk)
    return lambda: work() | machine.facts()
