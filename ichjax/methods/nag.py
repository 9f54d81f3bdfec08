"""An autoencoder selects slices and Chan-Vese contours outline the hemorrhage there, of the kind of Nag et al. (2019).

Published on 48 scans without subdural hemorrhages, the autoencoder trained on half of them and all tested: sensitivity
0.71, positive predictive value 0.73, Jaccard 0.55. A trained autoencoder selects slices; in each, the intensities are
fuzzified and intensified twice, the brightest spot is the seed, and a Chan-Vese level set starts from a circle there.
Ours differs: no scan that is tested is trained on; how the published autoencoder is built and selects could not be
found, so a logistic regression of the code and the errors of a small one does; intensities are fuzzified from the
brain's median to the brightest spot of the slice; and a regression on training scans (`region_method`) rejects what is
no hemorrhage.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.methods import logistic
from ichjax.methods.classical import Params, Segmented
from ichjax.methods.heads import Head, Training
from ichjax.methods.region_method import SPOT_BOX_PX, RegionMethod, Tissue, tissue_of
from ichjax.models import autoencoder
from ichjax.ops import level_sets, local_moments, morphology

SIDE_PX = 64  # of the slices that the autoencoder sees
TOP_HU = 80.0  # which is 1 in these slices
WEIGHTS_PREFIX = "autoencoder/"  # begins the name of its weights among the parameters
MIN_CONTRAST_HU = 12.0  # of the brightest spot over the brain, as fuzzified
PHI_HEIGHT = 0.5
MISSED_SHARE = 0.02  # of the training slices with a hemorrhage, which the selection may lose
SEED_RADIUS_PX = 8.0
STOPPED_SHARE = 0.01


class NagMethod(RegionMethod):
    """Chan-Vese contours from the brightest spot of the slices that an autoencoder selects."""

    title = "Nag 2019"
    card = "An autoencoder selects slices and Chan-Vese outlines, of the kind of Nag et al. 2019; training rejects"
    name, reference = "nag", "nag_2019"
    defaults: ClassVar = {"iterations": 300, "steps": 400, "batch_size": 16, "learning_rate": 1e-3, "seed": 0}
    grid: ClassVar = {"nu": (0.01, 0.1)}
    seconds_a_slice = 0.4

    def prepare(self, scans: Sequence[Training]) -> Params:
        """Trains the autoencoder, the regression of slices, and the cut of their scores."""
        slices = [self._small(scan.head)[: int(scan.head.depth)] for scan in scans]
        bleeding = np.concatenate([np.asarray(s.truth)[: int(s.head.depth)].any(axis=(1, 2)) for s in scans])
        images = jnp.concatenate(slices)
        options = {name: self.options[name] for name in ("steps", "batch_size", "learning_rate")}
        key = jax.random.key(self.options["seed"])
        variables, _ = autoencoder.train(key, images, model=autoencoder.Autoencoder(), **options)
        features = np.asarray(_slice_features(variables, images), np.float64)
        model = logistic.fit(features, bleeding)
        scores = 1 / (1 + np.exp(-np.clip(features @ model.weights + model.bias, -50, 50)))
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        return {
            **{WEIGHTS_PREFIX + name: np.asarray(value) for name, value in flat.items()},
            "slice_weights": model.weights,
            "slice_bias": model.bias,
            "slice_cut": float(np.quantile(scores[bleeding], MISSED_SHARE)) if bleeding.any() else 0.5,
        }

    def outline(self, choice: Mapping[str, Any], head: Head, tissue: Tissue) -> jax.Array:
        """What the contours of the selected slices enclose; a pixel's share is its level set's smooth step."""
        selected = self._slice_scores(choice, head) >= choice["slice_cut"]
        region = tissue.inside & selected[:, None, None]
        fuzzy, start = _fuzzy_and_start(tissue, region)
        phi = level_sets.from_mask(start, height=PHI_HEIGHT)
        iterations = self.options["iterations"]
        phi = level_sets.chan_vese(phi, fuzzy, region, iterations=iterations, nu=choice["nu"], tolerance=STOPPED_SHARE)
        mask = morphology.open_disk((phi < 0) & region, radius=1.0)
        return jnp.where(mask, 0.5 + jnp.arctan(jnp.abs(phi)) / jnp.pi, 0.0)

    def segment(self, params: Params, head: Head) -> Segmented:
        """The regions' probability; slices are ranked by the autoencoder."""
        return super().segment(params, head)._replace(slice_scores=self._slice_scores(params, head))

    def _slice_scores(self, choice: Mapping[str, Any], head: Head) -> jax.Array:
        flat = {
            name.removeprefix(WEIGHTS_PREFIX): value
            for name, value in choice.items()
            if name.startswith(WEIGHTS_PREFIX)
        }
        variables = flax.traverse_util.unflatten_dict(flat, sep="/")
        features = _slice_features(variables, self._small(head))
        scores = logistic.probability(features, choice["slice_weights"], choice["slice_bias"])
        return jnp.where(jnp.arange(len(head.hu)) < head.depth, scores, 0.0)

    @functools.partial(jax.jit, static_argnums=0)
    def _small(self, head: Head) -> jax.Array:
        """float32 [D, SIDE, SIDE, 1]: the slices as the autoencoder sees them, 0 outside the brain."""
        tissue = tissue_of(head, self.margin_mm)
        image = jnp.where(tissue.inside, jnp.clip(tissue.smooth / TOP_HU, 0.0, 1.0), 0.0)
        return jax.image.resize(image, (len(image), SIDE_PX, SIDE_PX), "linear")[..., None]


def _slice_features(variables: autoencoder.Variables, images: jax.Array) -> jax.Array:
    """float32 [N, F]: the mean code, and how much brighter slices are than their reconstruction."""
    result: Any = autoencoder.Autoencoder().apply(variables, images)
    reconstructed, code = result
    excess = jnp.maximum(images - reconstructed, 0.0)[..., 0]
    spots = local_moments.box_mean(excess, jnp.ones(excess.shape, bool), box=(1, 3, 3))
    bright = jnp.sort(images.reshape(len(images), -1), axis=1)[:, -SIDE_PX:]
    errors = jnp.stack([excess.mean(axis=(1, 2)), spots.max(axis=(1, 2)), bright.mean(axis=1)], axis=1)
    return jnp.concatenate([code.mean(axis=(1, 2)), errors], axis=1)


def _fuzzy_and_start(tissue: Tissue, region: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(intensified fuzzy intensities float32 [D, h, w], bool [D, h, w], a disk at the brightest spot of each slice)."""
    spots = jnp.where(region, local_moments.box_mean(tissue.smooth, region, box=SPOT_BOX_PX), 0.0)
    brightest = spots.max(axis=(1, 2), keepdims=True)
    contrast = jnp.maximum(brightest - tissue.brain_hu, MIN_CONTRAST_HU)
    fuzzy = jnp.clip((tissue.smooth - tissue.brain_hu) / contrast, 0.0, 1.0)
    for _ in range(2):
        fuzzy = jnp.where(fuzzy < 0.5, 2.0 * fuzzy**2, 1.0 - 2.0 * (1.0 - fuzzy) ** 2)
    depth, _, width = region.shape
    index = spots.reshape(depth, -1).argmax(axis=1)
    row, column = (part[:, None, None].astype(jnp.float32) for part in (index // width, index % width))
    rows, columns = (jax.lax.broadcasted_iota(jnp.float32, region.shape, axis) for axis in (1, 2))
    start = (rows - row) ** 2 + (columns - column) ** 2 <= SEED_RADIUS_PX**2
    return fuzzy, start & region


def make(config: Config) -> NagMethod:
    """The method."""
    return NagMethod(config)
