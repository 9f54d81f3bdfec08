"""Li et al. 2010 and 2012: where the subarachnoid space is, by distances and Bayes; whether it bleeds, by an SVM.

Published in 'Automatic subarachnoid space segmentation and hemorrhage detection in clinical head CT scans' (Int. J.
CARS 7, 2012): 100 % sensitivity and 92 % specificity for scans with a subarachnoid hemorrhage, 30 of 69. Ours is of
this kind and differs in these points:
- The distances of a pixel (to the inner table, the mid-plane, its front and back end, the top) are divided by the
  head's length, as published; their densities come from one smoothed histogram, not from a kernel density.
- The training scans have no outlines of the space: it is where fluid is near the skull or low in the head, and where
  readers outlined subarachnoid blood.
- The published method tells which scans bleed. Here the SVM tells which slices do, since the texture of a whole scan
  hardly changes by a small bleed; the probability of a pixel is that of the space, times that of blood by its HU, times
  that of its slice. Other sub-types are not looked for.
- The HU of blood are learned from hemorrhages of any sub-type. Without a subarachnoid one in training, any stands for
  it everywhere. If the machines cannot tell which slices of training scans bleed, no slice is ruled out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import ndimage

from ichjax.config import Config
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import learners, lesion_features, logistic
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import PIXEL_MM, Head, Training
from ichjax.ops import svm
from ichjax.scan.hu_check import SOFT_HU

DISTANCE_BINS = (
    14,
    10,
    12,
    12,
    10,
)  # of depth, distance from the mid-plane, from its front and back end, and from the top
DISTANCE_REACH = (0.5, 0.5, 1.1, 1.1, 1.1)  # of the bins, in lengths of the head
SMOOTH_BINS = 0.8  # SD of the histogram's Gaussian
WEAK_PX = 20.0  # pixels of the usual share that each bin has besides its own
FLUID_HU = (0.0, 18.0)
SPACE_DEPTH_MM, SPACE_HEIGHT = 12.0, 0.45  # fluid is in the space up to this depth, or below this share of the height
HU_BINS, HU_REACH = 16, 100.0  # of the histogram of the space's HU
SVM_COST, SVM_GAMMA = 1.0, 0.5
CERTAIN = 20.0  # log odds
SCAN_PARTS = 10  # of the training scans: slices of one are decided by a machine fitted to those of the others
EVERY = 2  # rows and columns of which one is read in training
MIN_LENGTH_MM = 50.0  # of a head


class Space(NamedTuple):
    """What the method sees of a head; [D, h, w], or the pixels read in training.

    Attributes:
      cells: int32, the bin of the five distances.
      hu: float32, smoothed, without cupping.
      inside: bool, inside the skull, neither bone nor air.
      fluid: bool, fluid that belongs to the subarachnoid space.
    """

    cells: jax.Array
    hu: jax.Array
    inside: jax.Array
    fluid: jax.Array


class LiMethod(ClassicalMethod):
    """Subarachnoid hemorrhage alone."""

    title = "Li 2012"
    card = (
        "Subarachnoid space by distances and Bayes, hemorrhage by an SVM, of the kind of Li et al. (Int. J. CARS 2012, "
        "7); subarachnoid hemorrhage alone"
    )
    name, reference = "li", "li_2012"
    seconds_a_slice = 0.1

    def __init__(self, config: Config):
        super().__init__(config)
        self._space_of = jax.jit(space_of)

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """The space, then HU of blood in it, then which scans bleed."""
        spaces, bloods = [], []
        for scan in train:
            spaces.append(jax.tree.map(_read, self._space_of(scan.head)))
            bloods.append((_read(scan.classes) == 1 + SUBTYPES.index("SAH"), _read(scan.truth)))
        with_sah = any(sah.any() for sah, _ in bloods)
        blood = [sah if with_sah else of_any for sah, of_any in bloods]
        table = _posterior(spaces, blood)
        shares = [np.where(space.inside, table[space.cells], 0.0) for space in spaces]
        gate, slice_gates = _learn_gate(spaces, shares, blood)
        any_blood = [mask for _, mask in bloods]  # of any sub-type: as bright, and there is more of it
        near = [
            ((share > 0.5) | mask) & space.inside & mask.any()
            for share, space, mask in zip(shares, spaces, any_blood, strict=True)
        ]
        of_hu = logistic.fit(_pick([space.hu for space in spaces], near)[:, None], _pick(any_blood, near))
        weight = max(float(of_hu.weights[0]), 0.0)
        probability = [
            np.asarray(_pixel_probability(share, space.hu, of_slice, weight, of_hu.bias))
            for share, space, of_slice in zip(shares, spaces, slice_gates, strict=True)
        ]
        candidate = [of > 1e-3 for of in probability]
        missed = sum(int((mask & ~where).sum()) for mask, where in zip(blood, candidate, strict=True))
        cut = float(
            np.clip(logistic.best_cut(_pick(probability, candidate), _pick(blood, candidate), missed), 1e-3, 0.98)
        )
        return {"table": table, "hu_weight": weight, "hu_bias": of_hu.bias, "cut": cut, **gate}

    def segment(self, params: Params, head: Head) -> Segmented:
        """Blood in the subarachnoid space, in slices that the SVM takes for bleeding."""
        space = space_of(head)
        table = jnp.asarray(params["table"])
        share = jnp.where(space.inside, table.at[space.cells].get(mode="promise_in_bounds"), 0.0)
        scaled = (jax.vmap(texture)(space.hu, share) - params["gate_mean"][None]) / params["gate_sd"][None]
        machine = svm.Svm(*(jnp.asarray(params["gate_" + name]) for name in svm.Svm._fields))
        decisions = svm.decide(machine, scaled)[:, 0]
        of_slice = jax.nn.sigmoid(decisions * params["gate_weight"] + params["gate_bias"])
        probability = _pixel_probability(share, space.hu, of_slice, params["hu_weight"], params["hu_bias"])
        probability = logistic.centered(probability, params["cut"])
        slice_scores = probability.max(axis=(1, 2))
        subtype_scores = jnp.zeros((len(slice_scores), len(SUBTYPES))).at[:, SUBTYPES.index("SAH")].set(slice_scores)
        return Segmented(probability, slice_scores, subtype_scores)


def space_of(head: Head) -> Space:
    """What the method sees of a head."""
    maps = lesion_features.maps_of(head)
    on_plane = head.inside & (jnp.abs(maps.offset_mm) < 2 * PIXEL_MM)
    along = jnp.broadcast_to(maps.along_mm[None], head.hu.shape)
    front = jnp.where(on_plane, along, jnp.inf).min(axis=(1, 2), keepdims=True)
    back = jnp.where(on_plane, along, -jnp.inf).max(axis=(1, 2), keepdims=True)
    crossed = jnp.isfinite(front)
    length_mm = jnp.maximum(jnp.where(crossed, back - front, 0.0).max(), MIN_LENGTH_MM)
    front, back = jnp.where(crossed, front, -length_mm / 2), jnp.where(crossed, back, length_mm / 2)
    index = jnp.arange(len(head.hu))
    filled = head.inside.any(axis=(1, 2))
    top, bottom = jnp.where(filled, index, 0).max(), jnp.where(filled, index, len(index)).min()
    from_top = jnp.broadcast_to((jnp.abs(top - index) * head.slice_mm)[:, None, None], head.hu.shape)
    across = maps.offset_mm
    distances = (
        maps.depth_mm,
        jnp.abs(across),
        jnp.sqrt(across**2 + (along - front) ** 2),
        jnp.sqrt(across**2 + (along - back) ** 2),
        from_top,
    )
    cells = jnp.zeros(head.hu.shape, jnp.int32)
    for distance_mm, bins, reach in zip(distances, DISTANCE_BINS, DISTANCE_REACH, strict=True):
        place = jnp.clip(distance_mm / length_mm / reach * bins, 0, bins - 1)
        cells = cells * bins + place.astype(jnp.int32)
    low = (index - bottom < SPACE_HEIGHT * (top - bottom))[:, None, None]
    fluid = (maps.smooth > FLUID_HU[0]) & (maps.smooth < FLUID_HU[1]) & maps.tissue
    # Otherwise the regression of blood on HU follows bone and air.
    soft = maps.tissue & (maps.smooth > SOFT_HU[0]) & (maps.smooth < SOFT_HU[1])
    return Space(cells, maps.smooth, soft, fluid & ((maps.depth_mm < SPACE_DEPTH_MM) | low))


def texture(hu: ArrayLike, share: ArrayLike) -> jax.Array:
    """Mean, variance, entropy and energy of the HU of the space: float32 [4]; 0 without a space.

    Args:
      hu: float32 [...].
      share: float32 [...], the probability that a pixel is in the space.
    """
    within = (jnp.asarray(share) > 0.5).astype(jnp.float32)
    level = jnp.clip(jnp.floor(jnp.asarray(hu) * (HU_BINS / HU_REACH)), 0, HU_BINS - 1).astype(jnp.int32)
    counts = jnp.zeros(HU_BINS).at[level].add(within)
    some = counts.sum() > 0
    share_of_level = counts / jnp.maximum(counts.sum(), 1.0)
    hu_of_level = (jnp.arange(HU_BINS) + 0.5) * (HU_REACH / HU_BINS)
    mean = (share_of_level * hu_of_level).sum()
    variance = (share_of_level * jnp.square(hu_of_level - mean)).sum()
    entropy = -(share_of_level * jnp.log2(jnp.maximum(share_of_level, 1e-9))).sum()
    return jnp.where(some, jnp.stack([mean, variance, entropy, jnp.square(share_of_level).sum()]), 0.0)


def _pixel_probability(
    share: ArrayLike, hu: ArrayLike, of_slice: ArrayLike, weight: ArrayLike, bias: ArrayLike
) -> jax.Array:
    """The probability of blood in the space [D, h, w]: that of the space, by the pixel's HU, and of its slice [D]."""
    of_hu = jax.nn.sigmoid(jnp.asarray(hu) * weight + bias)
    return jnp.asarray(share) * of_hu * jnp.asarray(of_slice)[:, None, None]


_textures = jax.jit(jax.vmap(texture))


def _pick(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels of all scans in their masks, [N]."""
    return np.concatenate([image[mask] for image, mask in zip(images, masks, strict=True)])


def _read(image: jax.Array) -> np.ndarray:
    """The pixels read in training."""
    return np.asarray(image[:, ::EVERY, ::EVERY])


def _posterior(spaces: Sequence[Space], blood: Sequence[np.ndarray]) -> np.ndarray:
    """The probability of the subarachnoid space in each bin, were it half of the brain: float32 [N]."""
    total = int(np.prod(DISTANCE_BINS))
    counts = np.zeros((2, total))
    for space, mask in zip(spaces, blood, strict=True):
        member = space.inside & (space.fluid | mask)
        counts[0] += np.bincount(space.cells[member], minlength=total)
        counts[1] += np.bincount(space.cells[space.inside], minlength=total)
    inside, every = (ndimage.gaussian_filter(of.reshape(DISTANCE_BINS), SMOOTH_BINS).ravel() for of in counts)
    usual = counts[0].sum() / max(counts[1].sum(), 1.0)
    member = (inside + WEAK_PX * usual) / max(usual, 1e-6)
    other = (every - inside + WEAK_PX * (1 - usual)) / max(1 - usual, 1e-6)
    return (member / (member + other)).astype(np.float32)


def _learn_gate(
    spaces: Sequence[Space], shares: Sequence[np.ndarray], blood: Sequence[np.ndarray]
) -> tuple[Params, list[np.ndarray]]:
    """(the SVM and what maps its decision to a probability, the probability of each slice [D] of each scan).

    Decisions are those of machines that have not seen the scan. Slices without brain do not count.
    """
    filled = [np.asarray(space.inside).max(axis=(1, 2)) for space in spaces]
    of_scans = [np.asarray(_textures(space.hu, share)) for space, share in zip(spaces, shares, strict=True)]
    textures = _pick(of_scans, filled)
    bleeding = _pick([mask.max(axis=(1, 2)) for mask in blood], filled)
    part = np.repeat(np.arange(len(spaces)) % SCAN_PARTS, [slices.sum() for slices in filled])
    mean, sd = textures.mean(axis=0), np.maximum(textures.std(axis=0), 1e-3)
    scaled = ((textures - mean) / sd).astype(np.float32)
    decisions = np.zeros(len(scaled))
    for k in np.unique(part):
        machine = _machine(scaled[part != k], bleeding[part != k])
        decisions[part == k] = np.asarray(svm.decide(machine, jnp.asarray(scaled[part == k])))[:, 0]
    platt = logistic.fit(decisions[:, None], bleeding)
    weight, bias = float(platt.weights[0]), platt.bias
    if weight <= 0:  # the machines do not tell unseen slices apart: none is ruled out
        weight, bias = 0.0, CERTAIN
    arrays = {"gate_" + name: np.asarray(of) for name, of in _machine(scaled, bleeding)._asdict().items()}
    gate = {"gate_weight": weight, "gate_bias": bias, "gate_mean": mean, "gate_sd": sd.astype(np.float32), **arrays}
    scores = [np.zeros(len(slices)) for slices in filled]
    of_slices = np.split(1 / (1 + np.exp(-(weight * decisions + bias))), np.cumsum([f.sum() for f in filled])[:-1])
    for score, slices, own in zip(scores, filled, of_slices, strict=True):
        score[slices] = own
    return gate, scores


def _machine(scaled: np.ndarray, bleeding: np.ndarray) -> svm.Svm:
    """An SVM whose decision is above 0 for a slice that bleeds; one that always decides 0 if all slices do, or none."""
    if len(np.unique(bleeding)) == 2:
        return learners.fit_svm(scaled, (~bleeding).astype(int), cost=SVM_COST, gamma=SVM_GAMMA)
    nothing = np.zeros((1, scaled.shape[1]), np.float32), np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    return svm.Svm(*map(jnp.asarray, (*nothing, np.float32(SVM_GAMMA))))


def make(config: Config) -> LiMethod:
    """The method; it uses `config.options.li` and `config.predict.thresholds`."""
    return LiMethod(config)
