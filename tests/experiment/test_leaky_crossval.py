"""What the leaking split makes of the predictions of several folds."""

import types

import jax.numpy as jnp
import numpy as np

from ichjax.data.leaky_split import SliceFold
from ichjax.experiment import leaky_crossval
from ichjax.methods.base import Prediction


class Fold:
    """A method that predicts the number of its fold everywhere, with scores of the whole scan."""

    def predict(self, params, volume):
        probability = jnp.full(volume.hu.shape, params / 10)
        return Prediction(probability, np.full(len(volume.hu), params), scan_scores=np.full(6, params))


def test_each_slice_is_its_folds_and_no_folds_score_is_the_scans():
    folds = [SliceFold(k, {}, {}, {7: np.array(slices)}) for k, slices in enumerate(([1, 3], [0, 2]))]
    scan = types.SimpleNamespace(number=7, volume=types.SimpleNamespace(hu=np.zeros((4, 2, 2))))
    got = leaky_crossval._combined(Fold(), [0.0, 1.0], folds, scan)
    assert got.slice_scores.tolist() == [1.0, 0.0, 1.0, 0.0]
    np.testing.assert_allclose(got.probability[:, 0, 0], [0.1, 0.0, 0.1, 0.0])
    assert got.scan_scores is None
