"""Two networks on two windows, slices summarized to a score of the scan, of the kind of Prevedello et al. (2017).

Published on 224 scans for training and 85 for testing (Radiology, 2017), one network on a brain window for hemorrhage,
mass effect or hydrocephalus together and one on a stroke window for infarct; reported for the former: AUC 0.91,
sensitivity 0.90, specificity 0.85. Ours differs: both networks, of the kind of GoogLeNet, learn hemorrhage and its
sub-types, from labels of slices in place of the scan's label on each of them, on windowed HU in place of 8-bit images;
their scores are averaged; group normalization stands in place of batch normalization; features are pooled by a
log-mean-exp (`slice_classifier`); the scan's score is the mean of its three highest slices (the published summary could
not be found); and class activation maps, which are an addition, mark the hemorrhage.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import ClassifierMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.scan_scores import mean_of_highest, slice_score_table
from ichjax.methods.small_classifier import AUGMENT, TRAIN
from ichjax.models import backbones
from ichjax.models.slice_classifier import Classifier, Ensemble
from ichjax.scan.volume import Volume


class PrevedelloMethod(ClassifierMethod):
    """Options: `width` of the networks (64 in the source), `fine` features (`backbones.make`), `dropout`, and
    `top_slices`, whose mean is the scan's score."""

    title = "Prevedello 2017"
    card = "Two GoogLeNets on two windows, the mean of the highest slices, of the kind of Prevedello et al. 2017"
    name, reference = "prevedello", "prevedello_2017"
    defaults: ClassVar[dict[str, Any]] = {
        "width": 8,
        "fine": True,
        "dropout": 0.2,
        "top_slices": 3,
        "windows": ((40.0, 80.0), (40.0, 40.0)),
        "grid": {"side": 64},
        "augment": AUGMENT,
        "train": TRAIN | {"epochs": 20},
    }

    def __init__(self, config: Config):
        changed, self.options = configured(config, self.name, self.defaults)
        dtype = jnp.dtype(changed.model.dtype)
        members = [
            Classifier(
                backbones.make("googlenet", width=self.options["width"], fine=self.options["fine"], dtype=dtype),
                (window,),
                self.options["dropout"],
            )
            for window in range(len(changed.windows))
        ]
        super().__init__(changed, Ensemble(tuple(members)))

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `ClassifierMethod.predict`, with the scores of the scan."""
        prediction = super().predict(params, volume, prior=prior)
        scores = mean_of_highest(slice_score_table(prediction), self.options["top_slices"])
        return prediction._replace(scan_scores=scores)


make = PrevedelloMethod
