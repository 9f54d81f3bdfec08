"""Fuzzy white-matter clusters and wavelets, of the kind of Gautam and Raman (2018).

Published on 20 scans with an intracerebral hemorrhage, Dice 0.82. The skull is removed, the contrast stretched, fuzzy
c-means selects the bright tissue, wavelet thresholds remove its noise, and Otsu's threshold and morphology outline the
hemorrhage there. Ours differs: beyond the names of the steps no published parameter could be found, so the number of
clusters (chosen on training scans), the Haar wavelet with the universal threshold, and the kernels are ours; Otsu's
threshold is that of the whole scan; and a regression on training scans (`region_method`) rejects bright regions that
are no hemorrhage, since the published method was run on scans with one.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.heads import Head
from ichjax.methods.region_method import RegionMethod, Tissue
from ichjax.ops import fuzzy_clusters, haar, morphology, thresholds

HISTOGRAM_LOW_HU, HISTOGRAM_HIGH_HU = 0.0, 100.0  # of the stretched contrast
GREY = 255.0
ROI_CLOSING_PX, ROI_OPENING_PX = 3, 1.0  # side of a square; radius of a disk


class GautamMethod(RegionMethod):
    """Bright clusters of a scan, denoised and cut by Otsu's threshold."""

    title = "Gautam 2018"
    card = "Fuzzy c-means, Haar wavelets and Otsu's threshold, of the kind of Gautam and Raman 2018; training rejects"
    name, reference = "gautam", "gautam_2018"
    defaults: ClassVar = {"clusters": 6}
    grid: ClassVar = {"brighter_hu": (6.0, 8.0, 10.0), "otsu_share": (0.0, 1.0)}
    seconds_a_slice = 0.05

    def outline(self, choice: Mapping[str, Any], head: Head, tissue: Tissue) -> jax.Array:
        """The bright clusters of the scan, without noise, above Otsu's threshold (`otsu_share` of it).

        Bright are the clusters whose center is `brighter_hu` above the brain's median.
        """
        stretched = (
            jnp.clip((tissue.smooth - HISTOGRAM_LOW_HU) / (HISTOGRAM_HIGH_HU - HISTOGRAM_LOW_HU), 0.0, 1.0) * GREY
        )
        counts = _histogram(stretched, tissue.inside)
        clusters = fuzzy_clusters.of_histogram(counts, clusters=self.options["clusters"])
        least = (
            (tissue.brain_hu + choice["brighter_hu"] - HISTOGRAM_LOW_HU) / (HISTOGRAM_HIGH_HU - HISTOGRAM_LOW_HU) * GREY
        )
        bright = (clusters.membership * (clusters.centers >= least)[:, :, None]).sum(axis=1)[0]  # [256]
        denoised = haar.denoise(jnp.where(tissue.inside, stretched, 0.0), tissue.inside)
        membership = bright.at[_grey(denoised)].get(mode="promise_in_bounds")
        region = tissue.inside & (membership >= 0.5)
        level = thresholds.otsu(_histogram(denoised, region))[0]
        region &= _grey(denoised) > level * choice["otsu_share"]
        region = (
            morphology.open_disk(morphology.close(region, side=ROI_CLOSING_PX), radius=ROI_OPENING_PX) & tissue.inside
        )
        return jnp.where(region, jnp.maximum(membership, 0.5), 0.0)


def _grey(image: jax.Array) -> jax.Array:
    """int32 [...]: grey levels 0 to 255."""
    return jnp.clip(jnp.round(image), 0.0, GREY).astype(jnp.int32)


def _histogram(image: jax.Array, mask: jax.Array) -> jax.Array:
    """int32 [1, 256], of the grey levels of a mask."""
    return thresholds.grey_histograms(_grey(image).reshape(1, -1), mask.reshape(1, -1))


def make(config: Config) -> GautamMethod:
    """The method."""
    return GautamMethod(config)
