"""An ensemble on interpolated slices with attention maps, of the kind of Lee et al. (2019).

Published on 904 scans for training and, for testing, 200 and 237 others (Nature Biomedical Engineering, 2019); reported
for detection: sensitivity 0.952, specificity 0.949, AUC 0.975; by sub-type 0.783, 0.929 and 0.959; and 78.1 % of
bleeding points under the attention maps. Four networks (VGG-16, ResNet-50, Inception-v3, Inception-ResNet-v2) see
several windows of a slice that is mixed with its neighbors, by a random degree in training and a fixed one afterwards.

Ours differs: nothing is pre-trained; group normalization stands in place of batch normalization; features are pooled by
a log-mean-exp (`slice_classifier`); the small form has VGG-16 and ResNet-18 alone; the third window is ours, and so is
the highest degree, 1/4; the fixed degree is one for the ensemble, that with the lowest log-loss on the validation
scans; windowed slices are mixed, not images of 8 bits; and the nearest training maps, which the publication shows as
the basis of a prediction, are left out.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import ClassifierMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.small_classifier import AUGMENT, TRAIN
from ichjax.models import backbones
from ichjax.models.slice_classifier import Classifier, Ensemble
from ichjax.models.slice_interpolation import DEGREE, InterpolatedClassifier
from ichjax.scan.volume import Volume

DEGREES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)  # fixed degrees that are tried
SMALLEST_SCORE = 1e-4  # of a slice, in the log-loss


class LeeMethod(ClassifierMethod):
    """Options: the `members` (`backbones.NAMES`), their `width` (64 in the sources), `fine` features, `dropout`."""

    title = "Lee 2019"
    card = "An ensemble on slices mixed with their neighbors, attention maps, of the kind of Lee et al. 2019"
    name, reference = "lee", "lee_2019"
    defaults: ClassVar[dict[str, Any]] = {
        "members": ("vgg16", "resnet18"),
        "width": 8,
        "fine": True,
        "dropout": 0.0,
        "windows": ((50.0, 100.0), (40.0, 40.0), (80.0, 200.0)),
        "grid": {"side": 64},
        "augment": AUGMENT,
        "train": TRAIN,
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        changed.model.neighbors = 1
        unknown = [name for name in options["members"] if name not in backbones.NAMES]
        if unknown or not options["members"]:
            expected = ", ".join(backbones.NAMES)
            raise InputError(f"config.options.lee.members is {options['members']!r}; expected some of {expected}")
        build = {"width": options["width"], "fine": options["fine"], "dtype": jnp.dtype(changed.model.dtype)}
        members = [Classifier(backbones.make(name, **build), (), options["dropout"]) for name in options["members"]]
        super().__init__(changed, Ensemble(tuple(members)), InterpolatedClassifier)

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """The fixed degree, and then the cut of the maps."""
        losses = [self._log_loss(params, valid, degree) for degree in DEGREES]
        degree = {DEGREE: DEGREES[int(np.argmin(losses))]}
        return degree | super().choose(_with(params, degree), train, valid)

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `ClassifierMethod.predict`, with the chosen degree."""
        if DEGREE in params.chosen:
            weights = params.weights | {DEGREE: np.float32(params.chosen[DEGREE])}
            params = dataclasses.replace(params, weights=weights)
        return super().predict(params, volume, prior=prior)

    def _log_loss(self, params: PatchNetworkParams, scans: Sequence[CachedScan], degree: float) -> float:
        """Of any hemorrhage on the slices of scans."""
        total = 0.0
        for scan in scans:
            prediction = self.predict(_with(params, {DEGREE: degree}), scan.volume)
            score = np.clip(np.asarray(prediction.slice_scores, np.float64), SMALLEST_SCORE, 1 - SMALLEST_SCORE)
            total -= float(np.log(np.where(scan.truth_px > 0, score, 1 - score)).sum())
        return total


def _with(params: PatchNetworkParams, chosen: dict[str, Any]) -> PatchNetworkParams:
    return dataclasses.replace(params, chosen=params.chosen | chosen)


make = LeeMethod
