"""What methods share that outline bright regions without training: which region is a hemorrhage, and where to cut.

The published methods were run on slices known to bleed; on other slices they outline the brightest tissue. Here a
subclass outlines candidate regions, and a logistic regression of their size, brightness and place, fitted on training
scans, tells which are hemorrhages. The probability of a pixel is that of its region times its share in the region, with
the odds scaled such that 0.5 gives the best mean Dice on the training scans. Options of outlines are searched there.
"""

import abc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.console import say
from ichjax.methods import logistic
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import PIXEL_MM, Head, Training
from ichjax.ops import component_statistics, distance, local_moments

MAX_REGIONS = 32  # the largest of a scan
SHARES = 20  # bins of a pixel's share in its region, from 0.5 to 1
MAX_BLEEDING, MAX_HEALTHY = 16, 8  # training scans that are looked at
MAX_CHOICE_SCANS = 10  # on which options are compared
BLOCK_SLICES = 16  # of a training scan, around its largest area of hemorrhage
TRUE_SHARE = 0.3  # of a region's pixels in the mask, for the region to be a hemorrhage
SMOOTH_BOX_PX = (1, 3, 3)
SPOT_BOX_PX = (1, 5, 5)
DENSE_HU = 90.0  # of 3 x 3 pixels: more than blood
FEATURES = 7
SMALLEST_ML = 1e-3
CUTS = np.arange(0.04, 0.97, 0.02)  # of the probability, among which the best is chosen
TYPICAL_BRAIN_HU = 33.0  # where there are no pixels inside

Choice = dict[str, float]


class Tissue(NamedTuple):
    """Where a subclass looks for hemorrhage.

    Attributes:
      smooth: float32 [D, h, w], the mean HU of 3 x 3 pixels inside the skull; 0 outside it.
      inside: bool [D, h, w], without the margin at the bone.
      depth_mm: float32 [D, h, w], distance from bone and dense pixels in the slice.
      brain_hu: float32 [], the median.
    """

    smooth: jax.Array
    inside: jax.Array
    depth_mm: jax.Array
    brain_hu: jax.Array


class Regions(NamedTuple):
    """Features float32 [K, F] of the regions, the number int32 [D, h, w] of each pixel's (K outside), and its share."""

    features: jax.Array
    number: jax.Array
    share: jax.Array


class Examined(NamedTuple):
    """A training scan's regions: features [K, F], pixels [K, SHARES, 2] by share and truth, and truth outside them."""

    features: np.ndarray
    pixels: np.ndarray
    missed: np.ndarray


class RegionMethod(ClassicalMethod):
    """Outlines regions by `outline` and keeps those that look like hemorrhages.

    Attributes:
      grid: values of each option of `outline` that are tried on the training scans.
      margin_mm: width of the margin at the bone, and at pixels above `DENSE_HU`, where bone and brain share pixels.
    """

    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    margin_mm: ClassVar[float] = 3.0

    def __init__(self, config: Config):
        super().__init__(config)
        self._examine = jax.jit(self._examined)

    @abc.abstractmethod
    def outline(self, choice: Mapping[str, Any], head: Head, tissue: Tissue) -> jax.Array:
        """float32 [D, h, w] in [0, 1]: the share of each pixel in a candidate region, which begins at 0.5.

        Traceable; `choice` has a value of each entry of `grid`, and what else `learn` found.
        """

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """Chooses the options with the best mean Dice on some training scans; then fits the regression and the cut."""
        blocks = list(_blocks(train))
        prepared = self.prepare(blocks)
        combinations = itertools.product(*self.grid.values())
        choices = [prepared | dict(zip(self.grid, values, strict=True)) for values in combinations]
        best = choices[0]
        if len(choices) > 1:
            few = blocks[:MAX_CHOICE_SCANS]
            dice = [_fit([self._run(choice, block) for block in few])[1] for choice in choices]
            best = choices[int(np.argmax(dice))]
            say(f"fold {fold}: {len(choices)} choices of {', '.join(self.grid)}, compared on {len(few)} scans")
        return best | _fit([self._run(best, block) for block in blocks])[0]

    def prepare(self, scans: Sequence[Training]) -> Params:
        """What `outline` needs besides the options, from training scans cut to few slices; nothing by default."""
        return {}

    def segment(self, params: Params, head: Head) -> Segmented:
        """The probability of each region's pixels, and of a slice the largest mean of 5 x 5 pixels."""
        regions = self._regions(params, head)
        likely = logistic.probability(regions.features, params["weights"], params["bias"])
        probability = component_statistics.to_pixels(regions.number, likely, outside=0.0) * regions.share
        probability = logistic.centered(probability, params["cut"])
        scores = local_moments.box_mean(probability, head.inside, box=SPOT_BOX_PX).max(axis=(1, 2))
        return Segmented(probability, scores)

    def _run(self, choice: Mapping[str, Any], block: Training) -> Examined:
        return Examined(*jax.device_get(self._examine(choice, block.head, block.truth)))

    def _regions(self, choice: Mapping[str, Any], head: Head) -> Regions:
        tissue = tissue_of(head, self.margin_mm)
        share = jnp.where(tissue.inside, self.outline(choice, head, tissue), 0.0)
        slice_pixel_ml = jnp.full(len(head.hu), PIXEL_MM**2 / 1000.0) * head.slice_mm
        number, volume_ml, _ = component_statistics.largest(share >= 0.5, slice_pixel_ml, count=MAX_REGIONS)
        return Regions(_features(number, volume_ml, head, tissue), number, share)

    def _examined(self, choice: Mapping[str, Any], head: Head, truth: jax.Array) -> tuple[jax.Array, ...]:
        regions = self._regions(choice, head)
        level = jnp.clip(((regions.share - 0.5) * 2 * SHARES).astype(jnp.int32), 0, SHARES - 1)
        index = (regions.number * SHARES + level) * 2 + truth
        pixels = jnp.zeros((MAX_REGIONS + 1) * SHARES * 2, jnp.int32).at[index.ravel()].add(1, mode="drop")
        pixels = pixels.reshape(MAX_REGIONS + 1, SHARES, 2)
        return regions.features, pixels[:-1], pixels[-1, :, 1].sum()


def tissue_of(head: Head, margin_mm: float) -> Tissue:
    """The tissue in which a hemorrhage is looked for."""
    smooth = local_moments.box_mean(head.hu, head.inside, box=SMOOTH_BOX_PX)
    excluded = ~head.inside | (smooth > DENSE_HU)
    depth_mm = jnp.minimum(distance.distance_mm(excluded, jnp.full(2, PIXEL_MM)), PIXEL_MM * sum(head.hu.shape[1:]))
    inside = depth_mm > margin_mm
    grey = jnp.clip(jnp.round(smooth), 0, 100).astype(jnp.int32)
    counts = jnp.zeros(101, jnp.int32).at[grey.ravel()].add(inside.ravel().astype(jnp.int32))
    cumulative = jnp.cumsum(counts)
    median = jnp.argmax(2 * cumulative >= cumulative[-1]).astype(jnp.float32)
    return Tissue(smooth, inside, depth_mm, jnp.where(cumulative[-1] > 0, median, TYPICAL_BRAIN_HU))


def _features(number: jax.Array, volume_ml: jax.Array, head: Head, tissue: Tissue) -> jax.Array:
    """float32 [K, F]: log volume, brightness above the brain's, depth, and thickness; finite also without a region."""
    spacing_mm = jnp.stack([head.slice_mm, jnp.float32(PIXEL_MM), jnp.float32(PIXEL_MM)])
    shapes = component_statistics.shapes(number, spacing_mm, count=MAX_REGIONS)
    hu = component_statistics.values(number, tissue.smooth, count=MAX_REGIONS)
    depth = component_statistics.values(number, tissue.depth_mm, count=MAX_REGIONS)
    columns = (
        jnp.log(jnp.maximum(volume_ml, SMALLEST_ML)),
        hu.mean - tissue.brain_hu,
        hu.largest - tissue.brain_hu,
        hu.sd,
        depth.mean,
        depth.largest,
        shapes.axes_mm[:, 2] / jnp.maximum(shapes.axes_mm[:, 0], 1e-3),
    )
    return jnp.stack(columns, axis=1)


def _blocks(train: Sequence[Training]) -> Iterator[Training]:
    """The slices around the largest area of hemorrhage of some training scans; the middle ones of healthy scans."""
    left = {True: MAX_BLEEDING, False: MAX_HEALTHY}
    for scan in train:
        area = np.asarray(scan.truth).sum(axis=(1, 2))
        bleeding = bool(area.any())
        if not left[bleeding]:
            continue
        left[bleeding] -= 1
        length = min(BLOCK_SLICES, len(area))
        middle = int(area.argmax()) if bleeding else int(scan.head.depth) // 2
        start = int(np.clip(middle - length // 2, 0, len(area) - length))
        cut = slice(start, start + length)
        depth = jnp.clip(scan.head.depth - start, 0, length)
        head = Head(scan.head.hu[cut], scan.head.inside[cut], depth, scan.head.slice_mm)
        yield Training(head, scan.truth[cut], scan.classes[cut], scan.number)


def _true_regions(examined: Examined) -> np.ndarray:
    """bool [K]: the regions that are hemorrhages."""
    pixels = examined.pixels.sum(axis=1)
    return pixels[:, 1] > TRUE_SHARE * np.maximum(pixels.sum(axis=1), 1)


def _fit(scans: Sequence[Examined]) -> tuple[Params, float]:
    """(weights, bias and cut; the mean Dice with them on these scans). Each region counts once."""
    there = [scan.pixels.any(axis=(1, 2)) for scan in scans]
    features = np.concatenate([scan.features[rows] for scan, rows in zip(scans, there, strict=True)])
    truth = np.concatenate([_true_regions(scan)[rows] for scan, rows in zip(scans, there, strict=True)])
    weights, bias = np.zeros(FEATURES), 0.0
    if len(features):
        weights, bias = logistic.fit(features.astype(np.float64), truth)
    dice = np.mean([_dice_at_cuts(scan, weights, bias) for scan in scans], axis=0)
    best = int(dice.argmax())
    return {"weights": weights, "bias": bias, "cut": float(CUTS[best])}, float(dice[best])


def _dice_at_cuts(scan: Examined, weights: np.ndarray, bias: float) -> np.ndarray:
    """The Dice of a training scan at each of `CUTS`; 1 if neither mask has a pixel."""
    likely = 1 / (1 + np.exp(-np.clip(scan.features @ weights + bias, -50, 50)))
    share = 0.5 + (np.arange(SHARES) + 0.5) / (2 * SHARES)
    above = (likely[:, None] * share)[None] > CUTS[:, None, None]
    wrong, right = np.einsum("cks,kst->tc", above, scan.pixels)
    total = wrong + right + scan.pixels[:, :, 1].sum() + scan.missed
    return np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)
