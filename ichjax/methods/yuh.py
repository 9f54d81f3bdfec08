"""Yuh et al. 2008: a threshold, then rules on the shape and place of what is above it, which also tell the sub-type.

Published in 'Computer-aided assessment of head computed tomography (CT) studies in patients with suspected traumatic
brain injury' (J. Neurotrauma 25, 2008), tuned on 33 scans, tested on 210: sensitivity 98 %, specificity 59 % for
hemorrhage of a scan, lower accuracy for sub-types. Only the outline of the method is used here, and its numbers (cuts
of the rules, sizes) are ours. It differs in these points:
- HU are compared after cupping was removed (`ops.cupping`): else, with one threshold, the brain along the skull and
  near the vertex is above it.
- Threshold and least volume are those with the best sum of F2 (of scans) and Dice (of pixels) on the training scans.
- A logistic regression on training components (HU, volume, depth, thickness) gives a probability, not yes or no.
- There is no score for cisterns and midline shift, and no atlas: a component is intraventricular by its place and the
  fluid around it.
"""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import candidates, lesion_features, logistic
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import Head, Training
from ichjax.methods.lesion_features import CANDIDATES, Lesions, Maps
from ichjax.ops import component_statistics, morphology

MAX_BLOOD_HU = 100.0
SPECK_PX = 1.0  # radius of the disk by which candidates are opened


class YuhMethod(ClassicalMethod):
    """Threshold, components, rules."""

    title = "Yuh 2008"
    card = (
        "A threshold and rules on components, of the kind of Yuh et al. (J. Neurotrauma 2008, 25); HU without cupping, "
        "cuts of the rules are not published"
    )
    name, reference = "yuh", "yuh_2008"
    # The grid that `learn` searches.
    defaults: ClassVar = {"thresholds_hu": [38.0, 41.0, 45.0, 50.0, 56.0], "volumes_ml": [0.1, 0.3, 0.6, 1.0]}
    seconds_a_slice = 0.1

    def __init__(self, config: Config):
        super().__init__(config)
        self._maps = jax.jit(lesion_features.maps_of)
        self._sizes = jax.jit(_sizes)
        self._measure = jax.jit(_measure)

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """Threshold and least volume, then the probability of a component."""
        thresholds_hu, volumes_ml = self.options["thresholds_hu"], self.options["volumes_ml"]
        sizes_at = [
            [jax.device_get(self._sizes(self._maps(scan.head), hu, scan.truth)) for hu in thresholds_hu]
            for scan in train
        ]
        true_px = np.array([int(scan.truth.sum()) for scan in train])
        best, threshold, least_ml = -1.0, 0, volumes_ml[0]
        for k in range(len(thresholds_hu)):
            volume, shared, size = (np.stack(of) for of in zip(*(of_scan[k] for of_scan in sizes_at), strict=True))
            for volume_ml in volumes_ml:
                kept = volume >= volume_ml
                dice = 2 * shared[kept].sum() / (size[kept].sum() + true_px.sum())
                score = _f2(kept.any(axis=1), true_px > 0) + dice
                if score > best:
                    best, threshold, least_ml = float(score), k, volume_ml
        examples = []
        for scan, of_scan in zip(train, sizes_at, strict=True):
            _, found = self._measure(self._maps(scan.head), thresholds_hu[threshold])
            volume, shared, size = of_scan[threshold]
            kept = volume >= least_ml
            examples.append(candidates.Examples(np.asarray(_features(found))[kept], shared[kept], size[kept]))
        learned = candidates.learn(examples, true_px)
        return {"threshold_hu": thresholds_hu[threshold], "least_ml": least_ml, "training_score": best, **learned}

    def segment(self, params: Params, head: Head) -> Segmented:
        """Components above the threshold, each with its probability and its sub-type."""
        maps = lesion_features.maps_of(head)
        number, found = _measure(maps, params["threshold_hu"])
        score = logistic.probability(_features(found), params["weights"], params["bias"])
        score = jnp.where(found.volume_ml >= params["least_ml"], logistic.centered(score, params["cut"]), 0.0)
        blood = head.inside & (maps.smooth > params["threshold_hu"]) & (maps.smooth < MAX_BLOOD_HU)
        return candidates.paint(number, score, subtypes(found), blood)


def subtypes(found: Lesions) -> jax.Array:
    """The sub-type of each candidate by its shape and place: int32 [K], an index into `label_tables.SUBTYPES`."""
    ratio = found.depth_mm / jnp.maximum(found.chord_mm, 1.0)
    touching = (found.contact > 0.03) & (found.chord_mm > 12.0)
    thin = found.solid < 0.72
    dim = found.mean_hu < 52.0
    deep = found.mean_depth_mm > 12.0
    lateral = (found.midline_mm < 32.0) & (found.back > 0.05) & (jnp.abs(found.height) < 0.3) & (found.near_csf > 0.1)
    fourth = (found.midline_mm < 8.0) & (found.back > 0.1) & (found.height < -0.45)
    ventricle = (lateral | fourth) & (found.back < 0.55) & deep & dim & (found.volume_ml < 12.0)
    cistern = (found.midline_mm < 32.0) & (found.back < -0.02) & (found.height < -0.3) & deep & dim
    small_and_wet = (found.volume_ml < 3.0) & (found.near_csf > 0.05)
    rules = {
        "SDH": touching & (ratio < 0.2),
        "EDH": touching & (ratio < 0.6) & ~thin,
        "IVH": ventricle,
        "SAH": thin | cistern | small_and_wet,
    }  # the first that applies
    return jnp.select(
        list(rules.values()), [jnp.int32(SUBTYPES.index(kind)) for kind in rules], jnp.int32(SUBTYPES.index("IPH"))
    )


def _mask(maps: Maps, threshold_hu: jax.Array | float) -> jax.Array:
    """bool [D, h, w]: as bright as blood, without specks and lines."""
    mask = maps.tissue & (maps.smooth > threshold_hu) & (maps.smooth < MAX_BLOOD_HU)
    return morphology.open_disk(mask, radius=SPECK_PX)


def _measure(maps: Maps, threshold_hu: jax.Array | float) -> tuple[jax.Array, Lesions]:
    """(number of the component of each pixel, features of the components)."""
    return lesion_features.measure(_mask(maps, threshold_hu), maps)


def _sizes(maps: Maps, threshold_hu: float, truth: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """float32 [K]: mL of the components, their pixels in the truth, and all their pixels."""
    found = component_statistics.largest(_mask(maps, threshold_hu), maps.slice_pixel_ml, count=CANDIDATES)
    return found.volume_ml, *candidates.overlaps(found.number, truth)


def _features(found: Lesions) -> jax.Array:
    """What the probability of a component depends on: float32 [K, 6]."""
    log_ml = jnp.log(jnp.maximum(found.volume_ml, 1e-3))
    distances = jnp.log1p(found.mean_depth_mm), jnp.log1p(found.midline_mm)
    return jnp.stack([found.mean_hu, found.sd_hu, found.solid, log_ml, *distances], axis=-1)


def _f2(positive: np.ndarray, truth: np.ndarray) -> float:
    """F2 of scans, bool [N] each: sensitivity counts four times as much as precision."""
    both = int((positive & truth).sum())
    return 5 * both / max(4 * int(truth.sum()) + int(positive.sum()), 1)


def make(config: Config) -> YuhMethod:
    """The method; it uses `config.options.yuh` and `config.predict.thresholds`."""
    return YuhMethod(config)
