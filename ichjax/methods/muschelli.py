"""Muschelli et al. (2017): features of each voxel, a random forest or a logistic regression, and a smoothed cut.

Published (NeuroImage: Clinical 14, 2017, 'PItcHPERFeCT') on CT of patients with intraparenchymal hemorrhage alone, with
a median Dice of 0.899 for the forest and a correlation of volumes of 0.93. Ours is of this kind: the published features
(`muschelli_features`), candidates between quantiles of the training lesions, forest or logistic regression on a sample
of the training scans' candidates, the mean of the probability over neighbors, a cut for the best Dice, and no component
below 0.1 mL.

It differs in the grid, which is the scan's slices with pixels of 1 mm in place of a registered grid of 1 mm, so that
the probability is averaged over 3 x 3 pixels of a slice and not over 3 x 3 x 3 mm; in the template of normal brains and
the mirrored brain, which are aligned by center, axis and size of the brain in place of registration; in k-means in
place of Atropos; in trees of a limited number of leaves; and in the cut, which is chosen on probabilities by models
that were fitted without the scan.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.methods import learners, logistic
from ichjax.methods import muschelli_features as mf
from ichjax.methods.classical import ClassicalMethod, Params, Segmented
from ichjax.methods.heads import PIXEL_MM, Head, Training
from ichjax.ops import components, forest, local_moments

MIN_CANDIDATE_HU = 30
LIMITED = ("z_axial", "z_coronal", "share_in_blood_range")  # features that limit the candidates ...
LIMIT_SHARES = (0.005, 0.995)  # ... to these quantiles of the training lesions
TRUE_SAMPLE, FALSE_SAMPLE = 1500, 3000  # voxels of each training scan that models are fitted to, at most ...
MAX_SAMPLE = 60_000  # ... and of all together
MIN_COMPONENT_ML = 0.1
CUT_SCANS = 16  # that the cut is chosen on, at most
FAINT = 0.05  # probabilities below it are no candidates for the cut


class Sample(NamedTuple):
    """Voxels of one training scan: features, float32 [n, F], and truth, bool [n]."""

    features: np.ndarray
    truth: np.ndarray


class MuschelliMethod(ClassicalMethod):
    """Options: `learner`, 'forest' or 'logistic'; `trees` and their `max_leaves`; `smooth_slices` and `smooth_px`, the
    odd sides of the mean of the probability."""

    title = "Muschelli 2017"
    card = "Features of each voxel and a random forest, after Muschelli et al., NeuroImage: Clinical 2017"
    name, reference = "muschelli", "muschelli_2017"
    defaults: ClassVar = {"learner": "forest", "trees": 100, "max_leaves": 64, "smooth_slices": 1, "smooth_px": 3}
    seconds_a_slice = 0.1

    def __init__(self, config: Config):
        super().__init__(config)
        if self.options["learner"] not in ("forest", "logistic"):
            raise InputError(
                f"config.options.muschelli.learner is {self.options['learner']!r}; expected 'forest' or 'logistic'"
            )
        self._sums = jax.jit(mf.template_sums)
        self._evaluated = jax.jit(self._evaluate)  # also where only features are needed: it compiles for seconds

    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """Template, limits of candidates, the model, and the cut; raises InputError without a true voxel in a brain."""
        sums = sum(np.asarray(self._sums(scan.head, scan.truth)).astype(np.int64) for scan in train)
        template = mf.make_template(np.asarray(sums))
        blank = self._blank() | {"template_mean": np.asarray(template.mean), "template_sd": np.asarray(template.sd)}
        part = min(1.0, MAX_SAMPLE / (len(train) * (TRUE_SAMPLE + FALSE_SAMPLE)))
        counts = round(part * TRUE_SAMPLE), round(part * FALSE_SAMPLE)
        samples = [self._sample(scan, blank, counts, fold) for scan in train]
        lesions = np.concatenate([sample.features[sample.truth] for sample in samples])
        if not len(lesions):
            raise InputError(f"fold {fold}: no true voxel of 0 to 100 HU lies inside a skull; expected at least one")
        limited = [mf.VOXEL_FEATURES.index(name) for name in LIMITED]
        shared: Params = {
            "limits": np.quantile(lesions[:, limited], LIMIT_SHARES, axis=0).T.astype(np.float32),
            "template_mean": blank["template_mean"],
            "template_sd": blank["template_sd"],
        }
        kept = [_candidates_of(sample, shared["limits"]) for sample in samples]
        model = self._fit(kept, fold)
        without = [self._fit(kept[1 - half :: 2], fold) if _has_both(kept[1 - half :: 2]) else model for half in (0, 1)]
        cut = self._choose_cut(train, [shared | other for other in without])
        return shared | model | {"cut": cut, "lesion_voxels": len(lesions)}

    def _blank(self) -> Params:
        """A model that has learned nothing, in arrays of the sizes that a fitted one has."""
        limits = {"limits": np.tile(np.array([np.inf, -np.inf], np.float32), (len(LIMITED), 1))}  # no candidates
        if self.options["learner"] == "logistic":
            return limits | {"logistic_weights": np.zeros(len(mf.VOXEL_FEATURES)), "logistic_bias": np.zeros(())}
        shape = self.options["trees"], 2 * self.options["max_leaves"] - 1
        return limits | {
            "forest_feature": np.zeros(shape, np.int32),
            "forest_threshold": np.zeros(shape, np.float32),
            "forest_children": np.zeros((shape[0], 2 * shape[1]), np.int32),
            "forest_value": np.zeros((*shape, 2), np.float32),
            "forest_depth": np.zeros(shape[0], np.int32),
        }

    def _sample(self, scan: Training, blank: Params, counts: tuple[int, int], fold: int) -> Sample:
        """A random sample of a scan's true voxels, and of others that may be candidates: so many of each, at most."""
        features, _ = self._evaluated(blank, scan.head)
        brain, truth = np.asarray(features.brain), np.asarray(scan.truth)
        bright = np.asarray(scan.head.hu) >= MIN_CANDIDATE_HU
        rng = np.random.default_rng([fold, scan.number])
        chosen = []
        for mask, count in zip((brain & truth, brain & bright & ~truth), counts, strict=True):
            pixels = np.flatnonzero(mask)
            chosen.append(rng.permutation(pixels)[:count])
        pixels = np.sort(np.concatenate(chosen))
        maps = np.asarray(features.maps).reshape(len(mf.VOXEL_FEATURES), -1)
        return Sample(maps[:, pixels].T, truth.ravel()[pixels])

    def _fit(self, samples: Sequence[Sample], fold: int) -> Params:
        """The model's parameters, in arrays of a size that depends on the options alone."""
        features = np.concatenate([sample.features for sample in samples])
        truth = np.concatenate([sample.truth for sample in samples])
        if self.options["learner"] == "logistic":
            return {
                f"logistic_{name}": np.asarray(value) for name, value in logistic.fit(features, truth)._asdict().items()
            }
        fitted = learners.fit_forest(
            features, truth, trees=self.options["trees"], max_leaves=self.options["max_leaves"],
            min_leaf_examples=5, seed=fold,
        )  # fmt: skip
        return {f"forest_{name}": value for name, value in fitted._asdict().items()}

    def _choose_cut(self, train: Sequence[Training], models: Sequence[Params]) -> float:
        """The cut with the best pooled Dice, on scans by the model that was fitted without them."""
        probabilities, truths, missed = [], [], 0
        for index in _evenly(len(train), CUT_SCANS):
            scan = train[index]
            probability = np.asarray(self._evaluated(models[index % 2], scan.head)[1])
            truth = np.asarray(scan.truth)
            candidate = probability > FAINT
            probabilities.append(probability[candidate])
            truths.append(truth[candidate])
            missed += int((truth & ~candidate).sum())
        return logistic.best_cut(np.concatenate(probabilities), np.concatenate(truths), missed)

    def _evaluate(self, params: Params, head: Head) -> tuple[mf.Features, jax.Array]:
        """(features; the model's probability, averaged over neighbors: float32 [D, h, w], 0 outside the brain)."""
        features = mf.compute(head, mf.Template(params["template_mean"], params["template_sd"]))
        maps, brain = features
        candidates = brain & (head.hu >= MIN_CANDIDATE_HU)
        for (low, high), name in zip(jnp.asarray(params["limits"]), LIMITED, strict=True):
            value = maps[mf.VOXEL_FEATURES.index(name)]
            candidates &= (value >= low) & (value <= high)
        if self.options["learner"] == "logistic":
            weights = params["logistic_weights"], params["logistic_bias"]
            raw = logistic.probability(jnp.moveaxis(maps, 0, -1), *weights)
        else:
            trees = forest.Forest(*(params[f"forest_{name}"] for name in forest.Forest._fields))
            raw = forest.predict_where(trees, maps, candidates, label=1)
        box = self.options["smooth_slices"], self.options["smooth_px"], self.options["smooth_px"]
        return features, local_moments.box_mean(jnp.where(candidates, raw, 0.0), brain, box=box)

    def segment(self, params: Params, head: Head) -> Segmented:
        """The probability with the cut at 0.5, without small components."""
        probability = logistic.centered(self._evaluate(params, head)[1], params["cut"])
        pixel_ml = jnp.full(len(head.hu), PIXEL_MM**2 / 1000) * head.slice_mm
        gated = components.gate(
            probability, pixel_ml, jnp.float32(0.5), high=jnp.float32(0), min_ml=jnp.float32(MIN_COMPONENT_ML),
            min_slices=jnp.int32(1),
        )  # fmt: skip
        return Segmented(gated)


def _candidates_of(sample: Sample, limits: np.ndarray) -> Sample:
    """Those voxels of a sample that are candidates."""
    values = sample.features[:, [mf.VOXEL_FEATURES.index(name) for name in LIMITED]]
    bright = sample.features[:, mf.VOXEL_FEATURES.index("value")] >= MIN_CANDIDATE_HU
    kept = bright & ((values >= limits[:, 0]) & (values <= limits[:, 1])).all(axis=1)
    return Sample(sample.features[kept], sample.truth[kept])


def _has_both(samples: Iterable[Sample]) -> bool:
    """Whether a part of the training scans has true and other voxels."""
    truths = [sample.truth for sample in samples]
    return any(truth.any() for truth in truths) and any(not truth.all() for truth in truths)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spread over even and odd ones."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most))})


make = MuschelliMethod
