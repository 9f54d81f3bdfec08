"""Makes one synthetic subject (HU, mask, labels) from (seed, number, preset), and defines the presets."""

import dataclasses

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom import plan as plans
from ichjax.phantom import scan as phantom_scan
from ichjax.phantom import scene as scenes
from ichjax.phantom.reader import classify, read_masks

MAX_ATTEMPTS = 4  # at a subject all of whose planned bleeds are large enough to be outlined


@dataclasses.dataclass(frozen=True)
class Preset:
    """Properties of a set of phantoms.

    Attributes:
      side, field_of_view_mm: side of a slice, in pixels and in mm.
      slices: distribution of the number of slices: (share of subjects, quantile) pairs.
      slice_mm: slice spacing and thickness.
      top_mm: (lowest, usual, highest) height of the highest slice above the sella, for an adult head: scans that begin
        below the skull base reach at least the lowest, the others at least the usual one.
      share, mix: share of subjects with a hemorrhage, and their sub-types.
      sizes: lowest and highest quantile of the bleeds' volumes.
    """

    side: int
    field_of_view_mm: float
    slices: tuple[tuple[float, float], ...]
    slice_mm: float
    top_mm: tuple[float, float, float]
    share: float
    mix: plans.Mix
    sizes: tuple[float, float]


PRESETS = {
    "calibrated": Preset(
        side=512,
        field_of_view_mm=214.5,
        slices=((0.0, 31), (0.25, 33), (0.5, 35.5), (0.75, 40), (0.95, 48), (1.0, 58)),
        slice_mm=5.0,
        top_mm=(88.0, 98.0, 120.0),
        share=36 / 82,
        mix=plans.REAL_MIX,
        sizes=(0.0, 1.0),
    ),
    "demo": Preset(
        side=256,
        field_of_view_mm=214.5,
        slices=((0.0, 9), (1.0, 13.99)),
        slice_mm=10.0,
        top_mm=(45.0, 92.0, 115.0),
        share=0.6,
        mix=plans.DEMO_MIX,
        sizes=(0.4, 0.95),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class PhantomSubject:
    """One synthetic subject; the axes are those of `Volume`: to the head, to the back, to the patient's left.

    Attributes:
      number: 49 or more.
      hu: int16 [D, H, W].
      classes: uint8 [D, H, W], outlined by the synthetic reader: 1 + the sub-type's index in `SUBTYPES`, 0 outside.
      slice_labels: bool [D, 5], in the order of `SUBTYPES`.
      fracture: bool [D].
      affine: float64 [4, 4], maps (d, h, w, 1) to RAS+ mm.
      age_years, sex ('M' or 'F'), chronic (whether the bleed is old).
    """

    number: int
    hu: np.ndarray
    classes: np.ndarray
    slice_labels: np.ndarray
    fracture: np.ndarray
    affine: np.ndarray
    age_years: float
    sex: str
    chronic: bool

    @property
    def mask(self) -> np.ndarray:
        """uint8 [D, H, W] of 0/1, the hemorrhage."""
        return np.asarray(self.classes > 0, np.uint8)


def make_subject(number: int, *, seed: int = 0, preset: str = "demo") -> PhantomSubject:
    """Makes one subject; the same arguments give the same bytes."""
    kind = PRESETS[preset]
    side, fov_mm = kind.side, kind.field_of_view_mm
    plan = plans.make_plan(number, seed=seed, share=kind.share, mix=kind.mix)
    slices = int(np.interp(plan.length, *np.transpose(kind.slices)))
    for attempt in range(MAX_ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt])
        grid = scenes.head_in_scanner(
            rng, plan, slices=slices, slice_mm=kind.slice_mm, top_mm=kind.top_mm, fov_mm=fov_mm
        )
        scene, fracture = scenes.make_scene(rng, grid, plan, sizes=kind.sizes)
        clean, shares, cavity_cm2 = phantom_scan.draw(scene, slices, side=side, fov_mm=fov_mm)
        hidden = phantom_scan.hidden_by_bone(clean, side=side, fov_mm=fov_mm)
        masks, labels = read_masks(rng, shares, hidden, fov_mm / side)
        if masks.any(axis=(1, 2, 3)).all():
            break
    slice_labels = np.zeros((slices, len(SUBTYPES)), bool)
    for lesion, on_slice in zip(scene.lesions, labels, strict=True):
        slice_labels[:, lesion.subtype] |= on_slice
    image = phantom_scan.scan(rng, clean, cavity_cm2, side=side, fov_mm=fov_mm)
    phantom_scan.settle_blood(image, scene.lesions, shares, masks, fov_mm=fov_mm)
    return PhantomSubject(
        number=number,
        hu=phantom_scan.digitize(image),
        classes=classify(scene.lesions, shares, masks),
        slice_labels=slice_labels,
        fracture=fracture,
        affine=_affine(kind, slices),
        age_years=plan.age_years,
        sex=plan.sex,
        chronic=plan.chronic,
    )


def _affine(kind: Preset, slices: int) -> np.ndarray:
    """Maps (d, h, w, 1) to RAS+ mm, with the origin at the center of the scan."""
    pixel = kind.field_of_view_mm / kind.side
    half = (kind.side - 1) * pixel / 2
    top = (slices - 1) * kind.slice_mm / 2
    return np.array([[0, 0, -pixel, half], [0, -pixel, 0, half], [kind.slice_mm, 0, 0, -top], [0, 0, 0, 1.0]])
