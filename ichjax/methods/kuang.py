"""A U-Net that compares the halves of the head, and contours that evolve from it, of the kind of Kuang et al. (2019).

Published on 180 scans for training and 30 for testing, with intraparenchymal hemorrhages, a user marking the regions
first: Dice 0.72 (0.65 in the discussion, and 0.35 for the U-Net alone), as the paper's review quotes it. The U-Net sees
the slice and its difference from the mirrored one, and learns with a cross-entropy weighted by the distance to the true
boundary; then the contours of several regions evolve until a convex energy of its probability, the intensities and the
contours' length is minimal.
Ours differs: nobody marks anything, the contours start from what the U-Net gives a probability above `start`, and a
slice without such a pixel is empty; there are two regions, as no scan at hand has masks of infarcts; the weight of the
loss, whose direction the review does not state, is highest at the boundary; the weights of the energy are chosen on
validation scans; and the mid-plane is the project's. The small form has the run's small U-Net, and its contours evolve
on pixels of 2 x 2, in fewer steps.

Options (`config.options.kuang`): `boundary_weight` and `boundary_px` of the loss, 1 + weight exp(-d / px); `start`;
`outer` and `inner` steps; `block`, the side of the pixels that contours evolve on; `evolution`, False for the U-Net
alone; `b`, `c` and `smoothness`, the values that are compared; and any group of the configuration.
"""

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ichjax import xla
from ichjax.config import Config
from ichjax.console import say
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.methods.base import Prediction
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkMethod, PatchNetworkParams
from ichjax.methods.slices import DEPTH_STEP, pad_depth
from ichjax.models import asymmetry
from ichjax.ops import gaussian, multi_region
from ichjax.ops import hu as hu_ops
from ichjax.scan.volume import AIR_HU, Volume

ENERGY = ("b", "c", "smoothness")
SMOOTH_PX = 1.0  # sigma of the Gaussian of the image that contours see


class Weights(NamedTuple):
    """The weights of the energy, see `multi_region.evolve`."""

    b: jax.Array
    c: jax.Array
    smoothness: jax.Array


class KuangMethod(PatchNetworkMethod):
    """A U-Net with left-right differences, then contours that start from it."""

    title = "Kuang 2019"
    card = "A U-Net with left-right differences, then contour evolution, of the kind of Kuang et al. 2019"
    name, reference = "kuang", "kuang_2019"
    exportable = False
    defaults: ClassVar[dict[str, Any]] = {
        "boundary_weight": 5.0,
        "boundary_px": 5.0,
        "start": 0.9,
        "outer": 5,
        "inner": 40,
        "block": 2,
        "evolution": True,
        "b": (0.0, 0.3),
        "c": (0.0, 0.3),
        "smoothness": (0.2, 2.0),
        "grid": {"side": 120},
        "patch": {"side": 48, "stride": 24},
        "train": {"epochs": 14, "batch_size": 4, "learning_rate": 4e-3},
    }

    def __init__(self, config: Config):
        changed, self.options = configured(config, self.name, self.defaults)
        _check(self.options)
        weights = {name: self.options[name] for name in ("boundary_weight", "boundary_px")}
        super().__init__(changed, asymmetry.network_from_config(changed, **weights))
        self._mesh = Mesh(np.array(jax.local_devices()), ("data",))
        self._evolve = xla.jit(self._evolve_scan)

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """The regions within the contours; a slice scores as the highest probability of the U-Net."""
        prediction = super().predict(params, volume, prior=prior)
        scores = prediction.probability.max(axis=(1, 2))
        if not set(ENERGY) <= set(params.chosen):
            return prediction._replace(slice_scores=scores)
        share = self.evolve(prediction.probability, volume, {name: params.chosen[name] for name in ENERGY})
        # Where nothing was restricted to the inside of the skull, both are the contours' result.
        outside = None
        if prediction.unrestricted is not None:
            is_removed = (prediction.probability == 0) & (prediction.unrestricted > 0)
            outside = jnp.where(is_removed, prediction.unrestricted, share)
        return prediction._replace(probability=share, unrestricted=outside, slice_scores=scores)

    def evolve(self, probability: jax.Array, volume: Volume, energy: dict[str, float]) -> jax.Array:
        """The share of hemorrhage float32 [D, H, W] after the evolution; energy: values of `ENERGY` by name."""
        step = DEPTH_STEP * self._mesh.size
        hu, padded = pad_depth(np.asarray(volume.hu), AIR_HU, step), pad_depth(probability, 0.0, step)
        weights = Weights(**{name: np.float32(value) for name, value in energy.items()})  # type: ignore[arg-type]
        return self._evolve(hu, padded, weights)[: len(probability)]

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """The weights of the energy with the highest Dice over all pixels of the validation scans with a hemorrhage."""
        if not self.options["evolution"]:
            return {}
        grid = [dict(zip(ENERGY, each, strict=True)) for each in itertools.product(*(self.options[n] for n in ENERGY))]
        totals, alone = np.zeros((len(grid), 2)), np.zeros(2)
        for scan in (scan for scan in valid if scan.truth_px.any()):
            probability, mask = super().predict(params, scan.volume).probability, np.asarray(scan.mask) > 0
            alone += _dice_parts(probability, mask, self.post.threshold)
            for number, energy in enumerate(grid):
                totals[number] += _dice_parts(self.evolve(probability, scan.volume, energy), mask, 0.5)
        dice = totals[:, 0] / np.maximum(totals[:, 1], 1.0)
        best = int(dice.argmax())
        say(
            f"contours, {len(grid)} choices of {', '.join(ENERGY)}: Dice {dice[best]:.3f} over the validation pixels, "
            f"{alone[0] / max(alone[1], 1.0):.3f} of the U-Net alone"
        )
        return {**grid[best], "validation_dice": float(dice[best])}

    def _evolve_scan(self, hu: jax.Array, probability: jax.Array, weights: Weights) -> jax.Array:
        """Every device evolves its part of the slices, one after the other."""
        part, everywhere = PartitionSpec("data"), PartitionSpec()

        def each(hu: jax.Array, probability: jax.Array, weights: Weights) -> jax.Array:
            return jax.lax.map(lambda one: self._evolve_slice(one[0], one[1], weights), (hu, probability))

        specs: dict[str, Any] = {"in_specs": (part, part, everywhere), "out_specs": part}
        return jax.shard_map(each, mesh=self._mesh, check_vma=False, **specs)(hu, probability, weights)

    def _evolve_slice(self, hu: jax.Array, probability: jax.Array, weights: Weights) -> jax.Array:
        """The share of hemorrhage float32 [H, W] from HU and the U-Net's probability; 0 without a pixel to start."""
        start, block = self.options["start"], self.options["block"]

        def evolved() -> jax.Array:
            windowed = hu_ops.window(hu, level=asymmetry.ASYMMETRY_LEVEL_HU, width=asymmetry.ASYMMETRY_WIDTH_HU)
            image = _coarse(windowed, block)
            image = gaussian.smooth(image[None], sigma_px=SMOOTH_PX)[0]
            coarse = _coarse(probability, block)
            shares = multi_region.evolve(
                jnp.stack([1.0 - coarse, coarse]),
                image,
                (_coarse(probability > start, block) >= 0.5).astype(jnp.int32),
                coarse > 0,
                **weights._asdict(),
                outer=self.options["outer"],
                inner=self.options["inner"],
            )
            fine = jax.image.resize(shares[1], [side * block for side in coarse.shape], "linear")
            return jnp.clip(fine[: hu.shape[0], : hu.shape[1]], 0.0, 1.0) * (probability > 0)

        return jax.lax.cond((probability > start).any(), evolved, lambda: jnp.zeros_like(probability))


def _coarse(plane: jax.Array, block: int) -> jax.Array:
    """Means of blocks of pixels, float32 [ceil(H / block), ceil(W / block)]; the last pixels fill their blocks."""
    padded = jnp.pad(plane.astype(jnp.float32), [(0, -side % block) for side in plane.shape], mode="edge")
    height, width = (side // block for side in padded.shape)
    return padded.reshape(height, block, width, block).mean(axis=(1, 3))


def _dice_parts(probability: jax.Array, mask: np.ndarray, threshold: float) -> np.ndarray:
    """float64 [2]: twice the overlap, and the sum of both sizes."""
    predicted = np.asarray(probability) > threshold
    return np.array([2 * (predicted & mask).sum(), predicted.sum() + mask.sum()], np.float64)


def _check(options: dict[str, Any]) -> None:
    """Raises InputError for values that cannot be used."""
    rules = [
        (0 < options["start"] < 1, "start", "a probability between 0 and 1"),
        (min(options["outer"], options["inner"], options["block"]) >= 1, "outer", "1 or more, as for inner and block"),
        (options["boundary_weight"] >= 0, "boundary_weight", "0 or more"),
        (options["boundary_px"] > 0, "boundary_px", "more than 0"),
        (all(len(options[name]) for name in ENERGY), "b", "at least one value, as for c and smoothness"),
    ]
    for holds, name, expected in rules:
        if not holds:
            raise InputError(f"config.options.kuang.{name} is {options[name]!r}; expected {expected}")


make = KuangMethod
