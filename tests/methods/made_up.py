"""A made-up method for tests of the method interface: hemorrhage has the brightness of the training masks."""

import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ichjax.errors import InputError
from ichjax.methods.base import Method, PostProcess, Prediction, digest


class Brightness(NamedTuple):
    """Mean and SD of the HU inside the training masks: parameters without `weights`."""

    mean_hu: float
    std_hu: float


class MadeUp(Method):
    title = "Made up"
    card = "A made-up method that knows one brightness"
    mode = "pixel by pixel"
    post = PostProcess(0.5, (0.3, 0.5), 0, 0, "fixed beforehand")

    def __init__(self, config):
        if unknown := set(config.options) - {"sharpness"}:
            raise InputError(f"config.options.{min(unknown)} is unknown to this method; expected sharpness")
        self.sharpness = config.options.get("sharpness", 1.0)

    def fit(self, train, valid, *, workdir, fold):
        if not (workdir / "model.json").is_file():
            hu = np.concatenate([scan.volume.hu[scan.mask > 0] for scan in train])
            (workdir / "model.json").write_text(json.dumps([float(hu.mean()), float(hu.std())]))
        return self.load(workdir)

    def predict(self, params, volume):
        z_score = (jnp.asarray(volume.hu, jnp.float32) - params.mean_hu) / params.std_hu
        probability = jnp.exp(-self.sharpness * z_score**2)
        slice_scores = np.asarray(probability).mean(axis=(1, 2))
        of_subtypes = np.outer(slice_scores, [1.0, 2.0, 3.0, 4.0, -5.0])
        of_scan = np.append(-of_subtypes.max(axis=0), np.median(slice_scores))  # unlike the highest slice's
        of_scan[0] = np.nan
        return Prediction(probability, slice_scores, of_subtypes, scan_scores=of_scan)

    def load(self, workdir):
        return Brightness(*json.loads((workdir / "model.json").read_text()))

    def fingerprint(self, params):
        return digest(params)

    def chosen(self, params):
        return {"mean_hu": params.mean_hu}


make = MadeUp
