"""Shahangian and Pourghassem (2016): DRLSE regions, features of shape, texture and grey levels, and two SVMs.

Published (Biocybernetics and Biomedical Engineering 36, 2016) with a Dice of 0.75 for epidural, 0.62 for
intracerebral and 0.37 for subdural hemorrhage, and accuracies of 92.5 and 94.1 % of the two machines. Ours is of this
kind (`shahangian_regions`): seeds above mean + k SD of the brain, k chosen on training scans; a modified DRLSE; the
first machine tells intraventricular hemorrhage from normal tissue, the second EDH, ICH and SDH apart.

It differs in the first machine, which has other hemorrhage as a third class, since not all our regions bleed; in
forward selection of features, from a few that are used in any case, in place of a genetic algorithm; in regions of
several slices; and in the constants of the level set and the weights of the histogram, which could not be found.
Ventricles are not removed beforehand. SAH was not among the published classes and has no score; its regions count as
other hemorrhage.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.console import say
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import learners, logistic
from ichjax.methods import shahangian_regions as regions_of
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import Head, Training
from ichjax.ops import component_statistics, svm

NORMAL, VENTRICULAR, OTHER = range(3)  # classes of the first machine
SECOND = ("EDH", "IPH", "SDH")  # classes of the second
MIN_BLEEDING_SHARE = 0.3  # of a region's pixels in the mask, for the region to be a hemorrhage
SEED_SD_GRID = (1.0, 1.75, 2.5)
SEED_SCANS = 4  # with a hemorrhage, on which the seeds are chosen
START = {  # features of each machine in any case, since few lesions cannot tell which of many features matter
    "first": ("log_volume", "mean_hu", "mean_depth", "contact", "near_fluid", "solidity", "from_middle"),
    "second": ("log_volume", "mean_depth", "largest_depth", "contact", "solidity", "flatness"),
}
MAX_FEATURES = 10
VOTE_WEIGHT = 2.0  # of a vote of the second machine, in the odds of a sub-type
ABSENT = -1.0  # score of a class that no training region has
CLASS_COUNT = 7  # of pixels: background, five sub-types, unknown


class Known(NamedTuple):
    """Regions of training scans.

    Attributes:
      features: float64 [N, F].
      counts: int [N, 7], pixels of each class.
      half: int [N], 0 or 1, by scan.
      missed: true pixels outside regions.
    """

    features: np.ndarray
    counts: np.ndarray
    half: np.ndarray
    missed: int

    @property
    def bleeds(self) -> np.ndarray:
        """bool [N]: whether a region is a hemorrhage."""
        true = self.counts[:, 1:].sum(axis=1)
        return true > MIN_BLEEDING_SHARE * self.counts.sum(axis=1)

    @property
    def subtype(self) -> np.ndarray:
        """int [N]: the most frequent sub-type's index; 5 for unknown."""
        return self.counts[:, 1:].argmax(axis=1)


class ShahangianMethod(ClassicalMethod):
    """Option: `cost`, of the support vector machines."""

    title = "Shahangian 2016"
    card = "DRLSE regions and a hierarchy of SVMs, after Shahangian and Pourghassem, Biocybern. Biomed. Eng. 2016"
    name, reference = "shahangian", "shahangian_2016"
    defaults: ClassVar = {"cost": 1.0}
    seconds_a_slice = 0.1

    def __init__(self, config: Config):
        super().__init__(config)
        self._examine = jax.jit(_examine)

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """Seeds, machines, calibrations and the cut."""
        seed_sd = self._choose_seeds(train)
        known = self._known(train, seed_sd)
        bleeds, subtype = known.bleeds, known.subtype
        ventricular = bleeds & (subtype == SUBTYPES.index("IVH"))
        first = np.where(ventricular, VENTRICULAR, np.where(bleeds, OTHER, NORMAL))
        second = np.full(len(first), -1)
        for k, name in enumerate(SECOND):
            second[bleeds & (subtype == SUBTYPES.index(name))] = k
        params: Params = {"seed_sd": seed_sd, "regions": len(first), "bleeding_regions": int(bleeds.sum())}
        cost = float(self.options["cost"])
        for name, labels in (("first", first), ("second", second)):
            rows = labels >= 0
            selected, accuracy = _select(name, known.features[rows], labels[rows], known.half[rows], cost)
            params |= _machine(name, known.features[rows], labels[rows], selected, cost)
            params[f"{name}_accuracy"] = accuracy
            names = [regions_of.REGION_FEATURES[k] for k in selected]
            say(f"fold {fold}, {name} machine: {', '.join(names) or 'one class'}")
        scores = _cross_scores(known, first, params["first_features"].tolist(), cost)
        likely = logistic.fit(scores, bleeds)
        of_ventricle = logistic.fit(scores[bleeds], ventricular[bleeds]) if bleeds.any() else likely
        params |= _named("bleeds", likely) | _named("ventricular", of_ventricle)
        probability = 1 / (1 + np.exp(-np.clip(scores @ likely.weights + likely.bias, -50, 50)))
        return params | {"cut": _best_cut(probability, known)}

    def _choose_seeds(self, train: Sequence[Training]) -> float:
        """The seeds with which the true regions have the best pooled Dice."""
        if len(SEED_SD_GRID) == 1:
            return SEED_SD_GRID[0]
        bleeding = [scan for scan in train if bool(scan.truth.any())][:SEED_SCANS]
        dice = []
        for seed_sd in SEED_SD_GRID:
            known = self._known(bleeding, seed_sd)
            right, every = known.counts[known.bleeds, 1:].sum(), known.counts[known.bleeds].sum()
            true = known.counts[:, 1:].sum() + known.missed
            dice.append(2 * right / max(every + true, 1))
        say(f"seeds at mean + {SEED_SD_GRID} SD: Dice {', '.join(f'{value:.3f}' for value in dice)} of true regions")
        return SEED_SD_GRID[int(np.argmax(dice))]

    def _known(self, scans: Sequence[Training], seed_sd: float) -> Known:
        features, counts, half, missed = [], [], [], 0
        for index, scan in enumerate(scans):
            each, there, pixels = jax.device_get(self._examine(scan.head, scan.classes, np.float32(seed_sd)))
            features.append(each[there].astype(np.float64))
            counts.append(pixels[:-1][there])
            half.append(np.full(there.sum(), index % 2))
            missed += int(pixels[-1, 1:].sum())
        return Known(np.concatenate(features), np.concatenate(counts), np.concatenate(half), missed)

    def segment(self, params: Params, head: Head) -> Segmented:
        """Each region's probability on its pixels, with the cut at 0.5; scores of slices are those of their regions."""
        number, features, there = regions_of.outline(head, params["seed_sd"])
        first = _scores("first", params, features, classes=3)
        second = _scores("second", params, features, classes=len(SECOND))
        likely = logistic.probability(first, params["bleeds_weights"], params["bleeds_bias"])
        likely = jnp.where(there, logistic.centered(likely, params["cut"]), 0.0)
        ventricular = logistic.probability(first, params["ventricular_weights"], params["ventricular_bias"])
        shares = jax.nn.softmax(VOTE_WEIGHT * second, axis=1) * (1.0 - ventricular)[:, None]
        of_subtype = jnp.zeros((len(likely), len(SUBTYPES))).at[:, SUBTYPES.index("IVH")].set(ventricular)
        of_subtype = of_subtype.at[:, jnp.array([SUBTYPES.index(name) for name in SECOND])].set(shares)
        planes = number.reshape(len(number), -1)
        in_slice = jax.vmap(lambda plane: jnp.zeros(len(likely) + 1, bool).at[plane].set(True)[:-1])(planes)
        slice_scores = jnp.where(in_slice, likely[None], 0.0).max(axis=1)
        subtype_scores = jnp.where(in_slice[:, :, None], (likely[:, None] * of_subtype)[None], 0.0).max(axis=1)
        probability = component_statistics.to_pixels(number, likely, outside=0.0)
        return Segmented(probability, slice_scores, subtype_scores)


def _examine(head: Head, classes: jax.Array, seed_sd: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(features, whether each region is there, int32 [REGIONS + 1, 7], pixels by class, outside the regions last)."""
    number, features, there = regions_of.outline(head, seed_sd)
    known = jnp.minimum(classes.astype(jnp.int32), CLASS_COUNT - 1)
    pixels = jnp.zeros((regions_of.REGIONS + 1) * CLASS_COUNT, jnp.int32)
    pixels = pixels.at[(number * CLASS_COUNT + known).ravel()].add(1, mode="promise_in_bounds")
    return features, there, pixels.reshape(-1, CLASS_COUNT)


def _select(
    name: str, features: np.ndarray, labels: np.ndarray, half: np.ndarray, cost: float
) -> tuple[list[int], float]:
    """The features of a machine and its accuracy; ([], 0) where there are not two classes."""
    if len(np.unique(labels)) < 2:
        return [], 0.0
    mean, scale = _standard(features)
    start = [regions_of.REGION_FEATURES.index(feature) for feature in START[name]]
    standard = (features - mean) / scale
    return learners.select_features(standard, labels, half, start=start, most=MAX_FEATURES, cost=cost)


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of each feature, 1 for a constant one."""
    sd = features.std(axis=0)
    return features.mean(axis=0), np.where(sd > 1e-6, sd, 1.0)


def _machine(name: str, features: np.ndarray, labels: np.ndarray, selected: list[int], cost: float) -> Params:
    """A fitted machine as arrays, by name; where there are not two classes, only which class there is."""
    params: Params = {f"{name}_classes": np.unique(labels).astype(np.int32)}
    params[f"{name}_features"] = np.array(selected, np.int32)
    if len(params[f"{name}_classes"]) < 2:
        return params
    mean, scale = _standard(features[:, selected])
    machine = learners.fit_svm((features[:, selected] - mean) / scale, labels, cost=cost, gamma=1 / len(selected))
    arrays = machine._asdict() | {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    return params | {f"{name}_{field}": np.asarray(value) for field, value in arrays.items()}


def _scores(name: str, params: Params, features: jax.Array, *, classes: int) -> jax.Array:
    """float32 [N, classes]: the machine's scores; `ABSENT` for classes that it was not fitted to."""
    present = params[f"{name}_classes"]
    scores = jnp.full((len(features), classes), ABSENT)
    if len(present) < 2:
        return scores.at[:, present].set(1.0)
    chosen = features[:, params[f"{name}_features"]]
    scaled = (chosen - params[f"{name}_mean"][None]) / params[f"{name}_scale"][None]
    decisions = svm.decide(svm.Svm(*(params[f"{name}_{field}"] for field in svm.Svm._fields)), scaled)
    return scores.at[:, present].set(svm.class_scores(decisions, classes=len(present)))


def _cross_scores(known: Known, labels: np.ndarray, selected: list[int], cost: float) -> np.ndarray:
    """float64 [N, 3]: the first machine's scores of each half, if it were fitted to the other half."""
    scores = np.zeros((len(labels), 3))
    for part in (0, 1):
        asked, other = known.half == part, known.half != part
        fitted = other if len(np.unique(labels[other])) > 1 else np.full(len(other), True)
        if asked.any():
            machine = _machine("first", known.features[fitted], labels[fitted], selected, cost)
            scores[asked] = _scores("first", machine, jnp.asarray(known.features[asked], jnp.float32), classes=3)
    return scores


def _named(name: str, fitted: logistic.Logistic) -> Params:
    return {f"{name}_weights": fitted.weights, f"{name}_bias": fitted.bias}


def _best_cut(probability: np.ndarray, known: Known) -> float:
    """The cut with the best pooled Dice if regions above it are kept."""
    true, every = known.counts[:, 1:].sum(axis=1), known.counts.sum(axis=1)
    pixels = np.repeat(probability, every)
    truth = np.arange(every.sum()) < np.repeat(np.cumsum(every) - every + true, every)
    return float(np.clip(logistic.best_cut(pixels, truth, known.missed), 0.02, 0.98))


make = ShahangianMethod
