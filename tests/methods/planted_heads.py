"""Small heads of plain shapes with one clear hemorrhage of each sub-type, on the working grid of the classical methods.

HU are those of the upper quartile of real hemorrhages (`phantom.blood`), volumes about so, and less for a head that is
four fifths of an adult's.
"""

from typing import NamedTuple

import chex
import jax
import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import classical
from ichjax.methods.heads import Head, Training
from ichjax.phantom import blood

DEPTH, HEIGHT, WIDTH, SLICE_MM = 8, 168, 144, 10.0
BRAIN_HU, FLUID_HU, FALX_HU, PLEXUS_HU = 32.0, 6.0, 50.0, 150.0


def make(subtype=None, *, seed=0, side=1, size=1.0, blood_hu=None):
    """A Training with a hemorrhage of this sub-type, or none; also with a falx and calcified plexus, which mimic blood.

    Args:
      side: 1 or -1, where it is: left or right.
      size: scales its extent; an SAH of at most 0.5 is in the lowest cistern alone.
      blood_hu: its HU; by default the upper quartile of real ones.
    """
    rng = np.random.default_rng([seed, 1 + SUBTYPES.index(subtype) if subtype else 0])
    z, y, x = np.meshgrid(
        (np.arange(DEPTH) - 3) * SLICE_MM, *(np.arange(n) - (n - 1) / 2 for n in (HEIGHT, WIDTH)), indexing="ij"
    )
    y, x = y + rng.uniform(-2, 2), x + rng.uniform(-2, 2)
    narrow = np.where(z > 20, 1 - ((z - 20) / 70) ** 2, 1.0)
    radius = np.hypot(x / 56, y / 70) / narrow
    depth = (1 - radius) * 62 * narrow
    hu = np.full(z.shape, -1000.0)
    hu[depth > -10], hu[(depth > -6)] = 45, 1200
    inside = depth > 0
    hu[inside] = BRAIN_HU + 22 * np.exp(-depth[inside] / 2.0)  # the blur of bone
    ventricle = inside & (np.hypot((np.abs(x) - 11) / 6, y / 24) < 1) & (np.abs(z - 5) < 16)
    sulci = inside & (np.abs(np.sin(np.arctan2(y, x) * 9)) < 0.16) & (depth > 1) & (depth < 16)
    cistern = inside & (np.hypot(x / 16, (y + 12) / 7) < 1) & (z < -15)
    hu[ventricle | sulci | cistern] = FLUID_HU
    hu[inside & (np.abs(x) < 1) & (np.abs(y) > 30) & (z > 0)] = FALX_HU
    hu[(np.hypot(np.abs(x) - 12, y - 14) < 2.5) & (np.abs(z - 5) < 6)] = PLEXUS_HU
    classes = np.zeros(z.shape, np.uint8)
    if subtype is not None:
        large = size > 0.5
        round_spot = ((y + 15) ** 2 + (1.3 * z - 8) ** 2) / (28 * size) ** 2
        shape = {
            "IVH": ventricle & (y > 9) & (x * side > 0),
            "IPH": np.sqrt((x - 24 * side) ** 2 + (y + 22) ** 2 + (0.9 * z - 5) ** 2) < 14 * size,
            "SAH": ((cistern & ((z < -25) | large)) | (sulci & (z < -5) & large)) & (x * side > -6) & (y < 25),
            "EDH": (depth > 0.5) & (x * side > 0) & (depth < 15 * size * np.sqrt(np.maximum(1 - round_spot, 0))),
            "SDH": (depth > 0.5) & (depth < 6 * size) & (x * side > 14) & (np.abs(y) < 38) & (np.abs(z - 10) < 16),
        }[subtype]
        shape &= inside
        classes[shape] = 1 + SUBTYPES.index(subtype)
        hu[shape] = blood_hu or np.interp(75, blood.PERCENTILES, blood.HU[subtype])
    hu += rng.normal(0, 3.0, hu.shape)
    head = Head(np.rint(hu).astype(np.float32), inside, np.int32(DEPTH), np.float32(SLICE_MM))
    return Training(head, classes > 0, classes, 49 + seed)


class PlantedScan(NamedTuple):
    """A scan as `ClassicalMethod.fit` takes it, where `heads.Trainings` is replaced by `list`."""

    head: Head
    truth: np.ndarray
    classes: np.ndarray
    number: int

    @property
    def truth_px(self):
        """int [D], mask pixels of each slice."""
        return self.truth.sum(axis=(1, 2))


def training_set():
    """Heads with each sub-type, on either side, and two without a hemorrhage."""
    bleeding = [make(name, seed=k, side=(-1) ** k, size=0.9) for k, name in enumerate(SUBTYPES)]
    return [PlantedScan(*scan) for scan in (*bleeding, make(seed=8), make(seed=9))]


def fitted(made, workdir, patch, scans=None):
    """Parameters of a method after `fit` on scans (`training_set`); the second `fit` only reads them."""
    scans = scans or training_set()
    patch.setattr(classical, "Trainings", list)
    params = made.fit(scans, [], workdir=workdir, fold=0)
    patch.setattr(type(made), "learn", None)
    again = made.fit(scans, [], workdir=workdir, fold=0)
    chex.assert_trees_all_equal(again, params)
    assert made.fingerprint(again) == made.fingerprint(params)
    return params


def odd_heads():
    """{name: a Head that is no head}, of the same shape."""
    plain = make().head
    air = plain._replace(hu=np.full_like(plain.hu, -1000), inside=np.zeros_like(plain.inside), depth=np.int32(1))
    everywhere = np.ones_like(plain.inside)
    one = np.arange(DEPTH)[:, None, None] == 3
    return {
        "air": air,
        "constant": plain._replace(hu=np.full_like(plain.hu, 35), inside=everywhere),
        "bright": plain._replace(hu=np.full_like(plain.hu, 60), inside=everywhere),
        "one slice": plain._replace(hu=np.where(one, plain.hu, -1000), inside=plain.inside & one, depth=np.int32(4)),
        "no bone": plain._replace(hu=np.minimum(plain.hu, 60)),
    }


def dice(mask, truth):
    """The Dice coefficient of two masks, 1 if both are empty."""
    total = mask.sum() + truth.sum()
    return 2 * (mask & truth).sum() / total if total else 1.0


def check_odd_head(segment, name):
    """What a method finds in one of `odd_heads` is finite, and nothing where nothing can be."""
    head = odd_heads()[name]
    found = segment(head)
    for values in jax.tree.leaves(found):
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()
    if name in ("air", "constant", "one slice"):
        assert not (found.probability[head.inside] > 0.5).any()
