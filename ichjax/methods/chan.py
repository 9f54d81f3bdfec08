"""Chan 2007: small bright spots and what one hemisphere has more than the other, then rules against what mimics blood.

Published in 'Computer aided detection of small acute intracranial hemorrhage on computer tomography of brain' (Comput.
Med. Imaging Graph. 31, 2007), semi-automatic: 100 % sensitivity and 84.1 % specificity for slices, 82.6 % sensitivity
for lesions, on 22 test cases. Ours is automatic and of this kind; its numbers are ours, and it differs in these points:
- Candidates are found by a white top-hat or by the difference to the mirrored brain, after cupping was removed, as
  published, and are brighter than brain: else, brain between fluid is one. The cuts are those with the best score on
  some training scans.
- The knowledge is five rules, each a margin: falx, sinus and tentorium, calcification, partial volume of bone, streaks
  in the posterior fossa. A logistic regression on the margins and on HU gives the probability of what no rule rejects.
- There is no atlas: a place is relative to the cavity and to the mid-plane.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.methods import candidates, lesion_features, logistic
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import PIXEL_MM, Head, Training
from ichjax.methods.lesion_features import CANDIDATES, Lesions, Maps
from ichjax.ops import component_statistics, gaussian, midplane, morphology

TOP_HAT_MM = 9.0
MIRROR_MM = 2.0  # SD of the Gaussian on the mirrored brain
OUTSIDE_HU = 25.0  # where the mirror image of brain is none
MAX_CANDIDATE_HU = 110.0
SEARCH_SCANS = 10  # of the training scans, for the cuts
LEAST_ML = 0.1


class Contrasts(NamedTuple):
    """float32 [D, h, w], HU: the white top-hat, and the difference to the smoothed mirrored brain."""

    top_hat: jax.Array
    asymmetry: jax.Array


class ChanMethod(ClassicalMethod):
    """Top-hat, asymmetry, rules."""

    title = "Chan 2007"
    card = (
        "White top-hat, asymmetry and rules against mimics of blood, of the kind of Chan (Comput. Med. Imaging Graph. "
        "2007, 31); automatic here, cuts of the rules are not published"
    )
    name, reference = "chan", "chan_2007"
    # The cuts that `learn` tries, one list after the other; first with the middle ones of the others.
    defaults: ClassVar = {
        "top_hat_hu": [10.0, 14.0, 18.0],
        "asymmetry_hu": [8.0, 11.0, 15.0],
        "bright_hu": [37.0, 40.0, 44.0],
    }
    seconds_a_slice = 0.1

    def __init__(self, config: Config):
        super().__init__(config)
        self._maps = jax.jit(maps_of)
        self._survivors = jax.jit(_survivors)
        self._measure = jax.jit(_measure)

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """The cuts one after the other, then the probability of what the rules leave."""
        cuts = {name: values[len(values) // 2] for name, values in self.options.items()}
        step = -(-len(train) // SEARCH_SCANS)
        searched = [(scan.truth, *self._maps(scan.head)) for scan in train[::step]]
        for name, values in self.options.items():
            if len(values) > 1:
                scores = [self._score(searched, cuts | {name: value}) for value in values]
                cuts[name] = values[int(np.argmax(scores))]
        examples = []
        for scan in train:
            number, found, contrast, _ = self._measure(*self._maps(scan.head), cuts)
            shared, sizes = jax.device_get(candidates.overlaps(number, scan.truth))
            kept = np.asarray(_accepted(found))
            examples.append(
                candidates.Examples(np.asarray(_features(found, contrast))[kept], shared[kept], sizes[kept])
            )
        learned = candidates.learn(examples, np.array([int(scan.truth.sum()) for scan in train]))
        return {**cuts, **learned}

    def _score(self, searched: Sequence[tuple], cuts: dict[str, float]) -> float:
        """Dice of what the rules leave, plus the share of the scans with a hemorrhage of which it hits some."""
        both, size, true_px, hit, bleeding = (0.0,) * 5
        for truth, maps, contrasts in searched:
            mask = self._survivors(maps, contrasts, cuts)
            overlap, true = float((mask & truth).sum()), float(truth.sum())
            both, size, true_px = both + overlap, size + float(mask.sum()), true_px + true
            hit, bleeding = hit + (overlap > 0), bleeding + (true > 0)
        return 2 * both / max(size + true_px, 1.0) + hit / max(bleeding, 1.0)

    def segment(self, params: Params, head: Head) -> Segmented:
        """Candidates that no rule rejects, with their probability."""
        maps, contrasts = maps_of(head)
        number, found, contrast, mask = _measure(maps, contrasts, params)
        score = logistic.probability(_features(found, contrast), params["weights"], params["bias"])
        score = jnp.where(_accepted(found), logistic.centered(score, params["cut"]), 0.0)
        segmented = candidates.paint(number, score, jnp.zeros(CANDIDATES, jnp.int32), mask)
        return segmented._replace(subtype_scores=None)


def maps_of(head: Head) -> tuple[Maps, Contrasts]:
    """The maps of a head and the two contrasts."""
    maps = lesion_features.maps_of(head)
    brain = jnp.where(maps.tissue, maps.smooth, OUTSIDE_HU)
    mirrored = gaussian.smooth(midplane.mirror(brain, maps.plane, outside=OUTSIDE_HU), sigma_px=MIRROR_MM / PIXEL_MM)
    top_hat = morphology.white_top_hat(jnp.minimum(brain, MAX_CANDIDATE_HU), radius=TOP_HAT_MM / PIXEL_MM)
    return maps, Contrasts(top_hat, brain - mirrored)


def margins(found: Lesions) -> jax.Array:
    """How far each candidate is from each mimic, float32 [K, 5]; below 0 it is one. Scaled to about -1 to 1.

    Columns: a thin plate in the mid-plane; a thin plate at the back or on the tentorium, in contact with the skull;
    calcification; partial volume along the skull; streaks in the posterior fossa.
    """
    plate = 1.0 - 2.0 * found.solid  # above 0: a line in the slice
    falx = jnp.maximum((found.midline_mm - 6.0) / 10.0, -plate)
    sinus = jnp.maximum(
        jnp.minimum((0.15 - found.back) * 2.0, 1.0), jnp.maximum((found.mean_depth_mm - 9.0) / 10.0, -plate)
    )
    calcified = (80.0 - (found.mean_hu + 2.0 * found.sd_hu)) / 30.0
    bone = (found.mean_depth_mm - 4.0) / 10.0
    streak = jnp.maximum((found.height + 0.55) * 2.0, (7.0 - found.sd_hu) / 7.0)
    return jnp.clip(jnp.stack([falx, sinus, calcified, bone, streak], axis=-1), -1.0, 1.0)


def _accepted(found: Lesions) -> jax.Array:
    """bool [K]: no rule rejects it."""
    return (found.volume_ml >= LEAST_ML) & (margins(found) >= 0).all(axis=-1)


def _mask(maps: Maps, contrasts: Contrasts, cuts: Params) -> jax.Array:
    """bool [D, h, w], candidates."""
    contrasted = (contrasts.top_hat > cuts["top_hat_hu"]) | (contrasts.asymmetry > cuts["asymmetry_hu"])
    bright = (maps.smooth > cuts["bright_hu"]) & (maps.smooth < MAX_CANDIDATE_HU)
    mask = maps.tissue & bright & contrasted
    return morphology.open_disk(mask, radius=1.0)


def _measure(maps: Maps, contrasts: Contrasts, cuts: Params) -> tuple[jax.Array, Lesions, jax.Array, jax.Array]:
    """(numbers of candidates, their features, their mean contrasts [K, 2], their mask)."""
    mask = _mask(maps, contrasts, cuts)
    number, found = lesion_features.measure(mask, maps)
    means = [component_statistics.values(number, image, count=CANDIDATES).mean for image in contrasts]
    return number, found, jnp.stack(means, axis=-1), mask


def _survivors(maps: Maps, contrasts: Contrasts, cuts: Params) -> jax.Array:
    """bool [D, h, w]: candidates that no rule rejects."""
    number, found, _, _ = _measure(maps, contrasts, cuts)
    return component_statistics.to_pixels(number, _accepted(found), outside=False)


def _features(found: Lesions, contrast: jax.Array) -> jax.Array:
    """float32 [K, 10]: the margins, HU, contrasts and size."""
    more = jnp.stack([found.mean_hu, found.sd_hu, jnp.log(jnp.maximum(found.volume_ml, 1e-3))], axis=-1)
    return jnp.concatenate([margins(found), contrast, more], axis=-1)


def make(config: Config) -> ChanMethod:
    """The method; it uses `config.options.chan` and `config.predict.thresholds`."""
    return ChanMethod(config)
