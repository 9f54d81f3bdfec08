"""ResNet-18 on slices in three windows and a random forest over the scan, of the kind of Chilamkurthy et al. (2018).

Published on 290,055 scans for training and, for testing, 21,095 of the same source and the 491 of CQ500 (Lancet, 2018),
with five heads for the sub-types; reported: a mean AUC of 0.93 by sub-type, at a sensitivity of 0.92 and a specificity
of 0.70. Ours differs: labels of slices come from masks, in place of reports and their reading by experts; the heads are
the outputs of one layer, with any hemorrhage as the sixth; group normalization stands in place of batch normalization;
features are pooled by a log-mean-exp (`slice_classifier`); nothing is pre-trained; what the forests see of the slices
is ours (`scan_forest`), as theirs is not published; they are fitted on the training scans, which the network has seen,
and the validation scans, which count as much as all of these together; and class activation maps, in place of a
segmentation network of its own, mark the hemorrhage.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config, training_seed
from ichjax.data.scan_cache import CachedScan
from ichjax.methods import scan_forest
from ichjax.methods.attention_cut import fit_cut
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import CUT, ClassifierMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.scan_scores import slice_score_table
from ichjax.methods.small_classifier import AUGMENT, TRAIN
from ichjax.models import backbones
from ichjax.models.slice_classifier import Classifier, Ensemble
from ichjax.scan.volume import Volume

FOREST = "forest"


class ChilamkurthyMethod(ClassifierMethod):
    """Options: `width` of the network (64 in the source), `fine` features (`backbones.make`), and `dropout`."""

    title = "Chilamkurthy 2018"
    card = "ResNet-18 on slices and random forests over scans, of the kind of Chilamkurthy et al. 2018"
    name, reference = "chilamkurthy", "chilamkurthy_2018"
    defaults: ClassVar[dict[str, Any]] = {
        "width": 8,
        "fine": True,
        "dropout": 0.0,
        "windows": ((40.0, 80.0), (500.0, 3000.0), (175.0, 50.0)),
        "grid": {"side": 96},
        "augment": AUGMENT,
        "train": TRAIN,
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        dtype = jnp.dtype(changed.model.dtype)
        backbone = backbones.make("resnet18", width=options["width"], fine=options["fine"], dtype=dtype)
        super().__init__(changed, Ensemble((Classifier(backbone, dropout=options["dropout"]),)))

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """The cut of the maps, fitted on the training scans, and the forests."""
        tables_of: dict[int, np.ndarray] = {}

        def predict(scan: CachedScan) -> Prediction:
            prediction = self.predict(params, scan.volume)
            tables_of[scan.number] = scan_forest.summarize(slice_score_table(prediction))
            return prediction

        cut = fit_cut(predict, train)
        for scan in valid:
            predict(scan)
        scans = [*train, *valid]
        tables = [tables_of[scan.number] for scan in scans]
        truth = np.stack([np.append(scan.slice_labels.any(axis=0), scan.truth_px.any()) for scan in scans])
        weights = [1] * len(train) + [max(1, round(len(train) / max(len(valid), 1)))] * len(valid)
        return {CUT: cut, FOREST: scan_forest.fit(tables, truth, weights, seed=training_seed(self.config))}

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `ClassifierMethod.predict`, with the scores of the scan."""
        prediction = super().predict(params, volume, prior=prior)
        if FOREST not in params.chosen:
            return prediction
        scores = scan_forest.predict(params.chosen[FOREST], slice_score_table(prediction))
        return prediction._replace(scan_scores=scores)

    def chosen(self, params: PatchNetworkParams) -> dict:
        """As `ClassifierMethod.chosen`, without the forests' many numbers."""
        return {name: value for name, value in super().chosen(params).items() if name != FOREST}


make = ChilamkurthyMethod
