"""Distance-regularized level sets in two stages, of the kind of Prakash et al. (2012).

Published: median Dice 0.897, 0.858 and 0.917 for small, medium and large hemorrhages. A level set first shrinks from a
loose region to the edges, and then grows from the eroded result; filters come before, and removal of false regions and
filling of gaps between slices after. Ours differs: the modified parameters could not be found, so those of Li et al.
(2010) are used with a balloon force chosen on training scans, as is the brightness of the loose region; the filter is a
mean of 3 x 3 pixels inside the skull; calcifications are excluded by their HU before, and thin plates by an opening;
regions of a single slice stay, since slices here may be 10 mm apart; and a regression on training scans
(`region_method`) rejects regions that are no hemorrhage.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.heads import Head
from ichjax.methods.region_method import SPOT_BOX_PX, RegionMethod, Tissue
from ichjax.ops import level_sets, local_moments, morphology

HU_TO_GREY = 2.55  # 0 to 100 HU are grey levels 0 to 255
SIGMA_PX = 1.0  # of the edge indicator, on smoothed HU
LOOSE_PX, ERODED_PX, THIN_PART_PX = 3.0, 2.0, 1.5  # radii of disks
CORE_HU = 6.0  # what is brighter than the loose region by this seeds the growth even if it is thin
STILL_SHARE = 0.01


class PrakashMethod(RegionMethod):
    """A level set shrinks onto bright regions and grows again from their cores."""

    title = "Prakash 2012"
    card = "Level sets that shrink and grow, of the kind of Prakash et al. 2012; training rejects"
    name, reference = "prakash", "prakash_2012"
    defaults: ClassVar = {"shrinking": 60, "growing": 60, "fill_gaps": True}
    grid: ClassVar = {"brighter_hu": (8.0, 11.0), "balloon": (1.5, 3.0)}
    seconds_a_slice = 0.3

    def outline(self, choice: Mapping[str, Any], head: Head, tissue: Tissue) -> jax.Array:
        """What the second level set encloses; a pixel's share rises from 0.5 with its depth in it."""
        inside = tissue.inside
        image = jnp.where(inside, tissue.smooth, tissue.brain_hu)
        edge = level_sets.edge_indicator(image * HU_TO_GREY, sigma_px=SIGMA_PX)
        least_hu = tissue.brain_hu + choice["brighter_hu"]
        bright = inside & (local_moments.box_mean(image, inside, box=SPOT_BOX_PX) >= least_hu)
        loose = morphology.dilate_disk(morphology.open_disk(bright, radius=THIN_PART_PX), radius=LOOSE_PX) & inside
        shrunk = self._evolve(loose, edge, choice["balloon"], self.options["shrinking"]) & loose
        core = shrunk & (morphology.erode_disk(shrunk, radius=ERODED_PX) | (image >= least_hu + CORE_HU))
        reach = morphology.dilate_disk(loose, radius=LOOSE_PX) & inside
        grown = self._evolve(core, edge, -choice["balloon"], self.options["growing"]) & reach
        grown = morphology.open_disk(grown, radius=THIN_PART_PX)
        if self.options["fill_gaps"]:
            stack = jnp.pad(grown, ((1, 1), (0, 0), (0, 0)))
            grown |= stack[:-2] & stack[2:] & inside
        return grown * (0.5 + 0.5 * jax.nn.sigmoid((image - least_hu) / CORE_HU))

    def _evolve(self, start: jax.Array, edge: jax.Array, alf: jax.Array, iterations: int) -> jax.Array:
        """bool [D, h, w]: what a level set encloses that starts from a mask."""
        phi = level_sets.from_mask(start)
        return level_sets.drlse(phi, edge, iterations=iterations, alf=alf, tolerance=STILL_SHARE) < 0


def make(config: Config) -> PrakashMethod:
    """The method."""
    return PrakashMethod(config)
