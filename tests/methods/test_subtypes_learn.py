"""Two stages learn planted sub-types: the first finds them, the second tells them apart."""

import numpy as np
import pytest

from ichjax.methods import registry
from ichjax.ops import subtypes
from tests.methods.test_subtypes import SMALL
from tests.train.test_slice_head import STILL, scans  # noqa: F401

FIELDS = {
    "model.base_width": 6,
    "model.norm": "instance",
    "model.dropout": 0.0,
    "train.epochs": 8,
    "train.learning_rate": 2e-2,
    "train.examples_per_epoch": 72,
}


@pytest.mark.experiments  # half a minute
def test_it_learns_planted_sub_types(scans, tiny_config, tmp_path):  # noqa: F811
    method = registry.make("subtypes", tiny_config(**SMALL | STILL | FIELDS))
    params = method.fit(scans[:4], scans[4:5], workdir=tmp_path, fold=0)
    prediction = method.predict(params, scans[5].volume)
    truth = np.asarray(scans[5].classes)
    assert set(np.unique(truth)) == {0, 2, 5}
    classes = np.asarray(subtypes.class_mask(prediction.class_probability, prediction.probability > 0.5))
    assert (classes == truth)[truth > 0].mean() > 0.9
    assert (classes > 0)[truth == 0].sum() < 0.1 * (truth > 0).sum()
