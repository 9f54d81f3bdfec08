"""The reference for both peers: ichjax's network, loss and gradient."""

import importlib
import os
import warnings

import jax
import numpy as np
import pytest

from benchmarks import keras_pipeline, our_work
from ichjax import config as configs
from ichjax.models import unet
from ichjax.ops import losses
from ichjax.train import state as states

WIDTH, SIDE, BATCH = 4, 32, 3


def _module(name):
    """A module of benchmarks; warnings of its libraries at import are ignored."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as for JAX here: convolutions on a GPU round float32 to fewer bits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="session")
def keras_reference():
    return _module("keras_reference")


@pytest.fixture(scope="session")
def torch_reference():
    return _module("torch_reference")


class Ours:
    """Our network without dropout, with nonzero biases as after some training.

    Attributes:
      config, network, params: the network's.
      images, masks: float32 [B, P, P, 1], the batch of the peers' measured steps.
      probability: float32 [B, P, P].
      loss, gradient: of the paper's loss.
    """

    def __init__(self):
        self.config = configs.default()
        fields = {"model.base_width": WIDTH, "model.dropout": 0.0, "patch.side": SIDE, "seed": 1}
        self.config.update_from_flattened_dict(fields)
        self.network = unet.network_from_config(self.config)
        rng = np.random.default_rng(0)
        self.params = jax.device_get(states.create(self.network, self.config, fold=0).params)
        for layer in self.params.values():
            layer["bias"] = layer["bias"] + rng.normal(0.1, 0.05, layer["bias"].shape).astype(np.float32)
        self.images, self.masks = keras_pipeline.example_batch(BATCH, SIDE)
        self.probability = np.asarray(jax.nn.sigmoid(self._logits(self.params)))
        loss, gradient = jax.jit(jax.value_and_grad(self._loss))(self.params)
        self.loss, self.gradient = float(loss), jax.device_get(gradient)

    def _logits(self, params):
        return self.network.logits(params, self.images)

    def _loss(self, params):
        return losses.binary_cross_entropy(self._logits(params), self.masks[..., 0]).mean()

    def assert_same_gradient(self, gradient):
        """`gradient` is {layer: {'kernel', 'bias'}}; arrays differ by at most 1e-4 of their norm, and none is zero."""
        assert gradient.keys() == self.gradient.keys()
        for layer, own in self.gradient.items():
            for kind, expected in own.items():
                norm = np.linalg.norm(expected)
                assert norm > 0, f"{layer} {kind} has no gradient: nothing is tested"
                assert np.linalg.norm(gradient[layer][kind] - expected) <= 1e-4 * norm, f"{layer} {kind}"

    def assert_same_first_update(self, after):
        """`after` is {layer: {'kernel', 'bias'}} after one step of Adam on `images`.

        Updates equal ours up to a twentieth of the learning rate where the gradient is much larger than Adam's epsilon
        (1e-7 in Keras, times 32 in a first step; ours 1e-8).
        """
        optimizer = states.make_optimizer(states.make_schedule(self.config, 1000))
        updates, _ = optimizer.update(self.gradient, optimizer.init(self.params), self.params)
        rate, compared = self.config.train.learning_rate, 0
        for layer, own in self.params.items():
            for kind, before in own.items():
                large = np.abs(self.gradient[layer][kind]) > 1e-4
                moved = np.asarray(after[layer][kind]) - before
                difference = np.abs(moved - np.asarray(updates[layer][kind]))[large]
                assert difference.max(initial=0) < rate / 20, f"{layer} {kind}"
                compared += large.sum()
        assert compared > 100


@pytest.fixture(scope="session")
def ours():
    return Ours()


@pytest.fixture(scope="session")
def scan_task(tiny_root, tmp_path_factory):
    """(options of every `predict_scan`, our result): one scan, the same weights for all."""
    weights = tmp_path_factory.mktemp("weights") / "w.npz"
    our_work.save_weights(weights, WIDTH, seed=1)
    task = {"scan": str(tiny_root / "ct_scans" / "052.nii"), "width": WIDTH, "side": 16, "stride": 8}
    task |= {"weights": str(weights), "threshold": 0.45}
    result = our_work.predict_scan(**task)()
    assert 0 < result["pixels"] < 4 * 32 * 32
    return task, result
