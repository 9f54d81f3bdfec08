"""Experiment 1 of the paper: two grey-level thresholds with the highest mean Jaccard index on the training scans."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import hosts
from ichjax.config import Config
from ichjax.console import say
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import write_json
from ichjax.methods.base import MODEL_FILE, Method, PostProcess, Prediction, digest
from ichjax.methods.slices import pad_depth
from ichjax.metrics import published
from ichjax.ops import skull, thresholds
from ichjax.scan.volume import AIR_HU, Volume

CHUNK = 8  # slices per histogram call


class Params(TypedDict):
    """The best pair of grey levels and its mean Jaccard index."""

    lower: int
    upper: int
    training_jaccard: float


class ThresholdMethod(Method):
    """Pixels with a grey level between two thresholds are hemorrhage; no morphology, as in the paper."""

    title = "Threshold"
    card = "Two grey-level thresholds of the brain window (Hssayeni et al., Data 2020, 5, 14, experiment 1)"
    mode = "threshold"
    published = published.THRESHOLD
    post = PostProcess(0.5, (0.5,), 0, 0, "training subjects of each fold (grid search)")

    def __init__(self, *, inside_skull: bool = False) -> None:
        self._inside_skull = inside_skull
        self._histograms = jax.jit(thresholds.cumulative_histograms)
        self._search = jax.jit(thresholds.mean_jaccard_of_pairs)
        self._between = jax.jit(lambda hu, pair: thresholds.between(hu, pair[0], pair[1]).astype(jnp.float32))
        self._between_inside = jax.jit(_between_inside)

    def fit(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int
    ) -> Params:
        """Scores all 5,106 pairs on the training slices with a hemorrhage; returns the best.

        Raises:
          InputError: no training slice has a hemorrhage.
        """
        if (workdir / MODEL_FILE).is_file():
            return self.load(workdir)
        histograms = [self._histograms(hu, mask) for hu, mask in _positive_slices(train)]
        if not histograms:
            raise InputError(f"fold {fold}: no training slice has a hemorrhage; expected at least one")
        scores = np.asarray(self._search(jnp.concatenate(histograms)))
        lower, upper = np.unravel_index(np.argmax(scores), scores.shape)
        params: Params = {
            "lower": thresholds.LOWER[lower],
            "upper": thresholds.UPPER[upper],
            "training_jaccard": float(scores.max()),
        }
        workdir.mkdir(parents=True, exist_ok=True)
        if hosts.is_first():
            write_json(workdir / MODEL_FILE, params)
        say(
            f"fold {fold}: thresholds {params['lower']} to {params['upper']} (grey levels), training Jaccard "
            f"{params['training_jaccard']:.3f}"
        )
        return params

    def predict(self, params: Params, volume: Volume) -> Prediction:
        """Probability 1 between the thresholds, 0 elsewhere."""
        padded = pad_depth(np.asarray(volume.hu), AIR_HU)
        pair = np.array([params["lower"], params["upper"]], np.int32)
        depth = len(volume.hu)
        if not self._inside_skull:
            return Prediction(self._between(padded, pair)[:depth])
        probability, unrestricted, found = self._between_inside(padded, pair, np.array(volume.spacing_mm, np.float32))
        return Prediction(probability[:depth], unrestricted=unrestricted[:depth], skull_found=found)

    def load(self, workdir: pathlib.Path) -> Params:
        """Reads the results of `fit`; InputError if the fold is not finished."""
        try:
            record = json.loads((workdir / MODEL_FILE).read_text())
            return {
                "lower": record["lower"],
                "upper": record["upper"],
                "training_jaccard": record["training_jaccard"],
            }
        except (OSError, ValueError) as error:
            raise InputError(f"{workdir}: no finished fold; expected model.json from `train`") from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{workdir}: model.json has no thresholds; expected those from `train`") from error

    def chosen(self, params: Params) -> dict:
        """The pair of grey levels and its training Jaccard."""
        return {
            "thresholds": [params["lower"], params["upper"]],
            "training_jaccard": params["training_jaccard"],
        }

    def fingerprint(self, params: Params) -> str:
        """A digest of the pair."""
        return digest(params)


def _between_inside(hu: jax.Array, pair: jax.Array, spacing_mm: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(probability inside the skull, everywhere, whether a closed skull was found)."""
    probability = thresholds.between(hu, pair[0], pair[1]).astype(jnp.float32)
    inside, found = skull.inside_skull(hu, spacing_mm)
    return jnp.where(inside, probability, 0.0), probability, found


def _positive_slices(scans: Sequence[CachedScan]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Slices with a hemorrhage, CHUNK at a time: (int16 [CHUNK, H, W], uint8 [CHUNK, H, W]), padded with air."""
    for scan in scans:
        positive = np.flatnonzero(scan.truth_px)
        for start in range(0, len(positive), CHUNK):
            chunk = positive[start : start + CHUNK]
            yield pad_depth(scan.volume.hu[chunk], AIR_HU, CHUNK), pad_depth(scan.mask[chunk], 0, CHUNK)


def make(config: Config) -> ThresholdMethod:
    """The method; it uses `config.predict.inside_skull` alone."""
    return ThresholdMethod(inside_skull=config.predict.inside_skull)
