"""A cascade of classifiers on two windows, then two fully convolutional networks, of the kind of Cho et al. (2019).

Published on 5,702 scans (2,647 with a hemorrhage) in five folds: reported for the detection of slices 97.91 %
sensitivity and 98.76 % specificity, for pixels 80.19 % precision and 82.15 % recall, as the paper's review quotes them
(PMC6499861). A network of the GoogLeNet kind sees the window L 50 W 100, and another the slices that it calls negative
in L 40 W 40; of positive slices, two FCNs from VGG-16, one for each window, give a softmax over the background and the
sub-types, and their mean is taken.
Ours differs: nothing is trained on photographs first; all four networks are trained in one step on the same slices, as
many with a hemorrhage as without, and not the FCNs on positive slices alone; the classifiers learn the sub-types, too;
a slice's score is the higher of both, which is above a cut just where the cascade calls it positive, and the cut is the
one with the highest Dice on validation scans; group normalization is added; and between the coarse logits is
interpolated. The small form has narrow networks on coarser slices, with two poolings fewer, so that the finest logits
are at every fourth pixel.

Options (`config.options.cho`): `classifier_width`, of GoogLeNet's first convolution; `pools` of VGG-16 besides the
last; `head`, the channels of the convolutions before its logits; `gates`, the cuts that are compared; and any group of
the configuration (`model.base_width` is VGG-16's width).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.methods.base import Prediction
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkMethod, PatchNetworkParams
from ichjax.methods.sequence_method import whole_slices
from ichjax.models import fcn
from ichjax.scan.volume import Volume

GATE = "gate"


class ChoMethod(PatchNetworkMethod):
    """Two classifiers gate the mean of two fully convolutional networks."""

    title = "Cho 2019"
    card = "A cascade of classifiers, then two fully convolutional networks, of the kind of Cho et al. 2019"
    name, reference = "cho", "cho_2019"
    exportable = False
    segments_subtypes = True
    defaults: ClassVar[dict[str, Any]] = {
        "classifier_width": 8,
        "pools": 2,
        "head": 64,
        "gates": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        "windows": ((50.0, 100.0), (40.0, 40.0)),
        "grid": {"side": 96},
        "model": {"base_width": 4},
        # The cascade decides which slices bleed: no region needs a pixel of a higher probability besides.
        "predict": {"threshold": 0.5, "find_threshold": 0.0},
        "train": {
            "epochs": 16,
            "examples_per_epoch": 0,
            "batch_size": 4,
            "learning_rate": 3e-3,
            "negatives": "matched",
            "sampling": "patches",
        },
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        changed = whole_slices(changed)
        self._gates = tuple(options["gates"])
        if not self._gates or not all(0 <= gate < 1 for gate in self._gates):
            raise InputError(f"config.options.cho.gates is {self._gates!r}; expected scores from 0 to below 1")
        network = fcn.network_from_config(
            changed, **{name: options[name] for name in ("classifier_width", "pools", "head")}
        )
        super().__init__(changed, network)
        self.mode = "whole slices, those that a cascade of classifiers calls positive"

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `PatchNetworkMethod.predict`; slices whose score is below the chosen cut are empty."""
        prediction = super().predict(params, volume, prior=prior)
        if GATE not in params.chosen:
            return prediction
        positive = (jnp.asarray(prediction.slice_scores) >= params.chosen[GATE])[:, None, None]
        classes = prediction.class_probability
        background = jnp.arange(fcn.PIXEL_CLASSES)[None, None, None] == 0
        return prediction._replace(
            probability=jnp.where(positive, prediction.probability, 0.0),
            unrestricted=None if prediction.unrestricted is None else jnp.where(positive, prediction.unrestricted, 0.0),
            class_probability=None if classes is None else jnp.where(positive[..., None], classes, background),
        )

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """The cut of scores with the highest Dice over all pixels of the validation scans; the lowest of equal ones."""
        gates = np.array(sorted(self._gates))
        overlap, predicted, truth = np.zeros(len(gates)), np.zeros(len(gates)), 0
        for scan in valid:
            prediction = super().predict(params, scan.volume)
            mask = np.asarray(prediction.probability) > self.post.threshold
            called = np.asarray(prediction.slice_scores)[None] >= gates[:, None]
            overlap += called @ (mask & (np.asarray(scan.mask) > 0)).sum(axis=(1, 2))
            predicted += called @ mask.sum(axis=(1, 2))
            truth += int(scan.truth_px.sum())
        return {GATE: float(gates[(2 * overlap / np.maximum(predicted + truth, 1)).argmax()])}


make = ChoMethod
