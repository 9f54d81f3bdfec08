"""Synthetic head CTs with hemorrhages, in the layouts of the public data set and of one's own scans.

Everything about a subject follows from (seed, number, preset). `calibrated` has the figures of the real set;
`demo` is a small one that is made in seconds. What is real about them and what is not: docs/phantom.md.
"""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import pathlib

import numpy as np
import tqdm

from ichjax.data.ct_ich_nifti import NIFTI_MASKS
from ichjax.data.label_tables import FIRST_NUMBER, SUBTYPES
from ichjax.errors import InputError
from ichjax.phantom import lesions as pl
from ichjax.phantom import plan as plans
from ichjax.phantom import scan as phantom_scan
from ichjax.phantom import scene as scenes
from ichjax.phantom import write, write_jpeg, write_own
from ichjax.phantom.reader import read_masks

WRITERS = {"nifti": write, "jpeg": write_jpeg, "own": write_own}  # by layout
ATTEMPTS = 4  # to draw a subject whose planned bleeds can all be seen


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a set of phantoms looks like.

    Attributes:
      side: pixels along a slice; `field_of_view_mm` its size.
      slices: quantiles of the number of slices, pairs of a share of subjects and a number.
      slice_mm: distance and thickness of slices.
      top_mm: height of the highest slice, about; scans with more slices reach further down.
      share: of subjects with a hemorrhage; `mix` their sub-types.
      sizes: of the lesions, and the HU of their blood.
    """

    name: str
    side: int
    field_of_view_mm: float
    slices: tuple[tuple[float, float], ...]
    slice_mm: float
    top_mm: float
    share: float
    mix: tuple
    sizes: pl.Sizes


PRESETS = {
    "calibrated": Preset(
        name="calibrated",
        side=512,
        field_of_view_mm=214.5,
        slices=((0.0, 31), (0.25, 33), (0.5, 35.5), (0.75, 40), (0.95, 48), (1.0, 58)),
        slice_mm=5.0,
        top_mm=105.0,
        share=36 / 82,
        mix=plans.REAL_MIX,
        sizes=pl.Sizes(),
    ),
    "demo": Preset(
        name="demo",
        side=256,
        field_of_view_mm=214.5,
        slices=((0.0, 8), (1.0, 12.99)),
        slice_mm=10.0,
        top_mm=84.0,
        share=0.6,
        mix=plans.DEMO_MIX,
        sizes=pl.Sizes(extent=1.3, depth=1.1, quantiles=(0.35, 0.85), blood_hu=(57.0, 3.0)),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class PhantomSubject:
    """One synthetic subject; axes as `Volume`'s: to the head, to the back, to the patient's left.

    Attributes:
      number: from 49 on.
      hu: int16 [D, H, W]; mask: uint8 [D, H, W] of 0/1, the reader's outline.
      slice_labels: bool [D, 5], in the order of `SUBTYPES`; fracture: bool [D].
      affine: float64 [4, 4], maps (d, h, w, 1) to RAS+ mm.
      age_years, sex ('M' or 'F'), chronic: an old bleed.
    """

    number: int
    hu: np.ndarray
    mask: np.ndarray
    slice_labels: np.ndarray
    fracture: np.ndarray
    affine: np.ndarray
    age_years: float
    sex: str
    chronic: bool


def make_subject(number: int, *, seed: int = 0, preset: str = "demo") -> PhantomSubject:
    """Makes one subject; the same arguments give the same bytes."""
    kind = PRESETS[preset]
    plan = plans.make_plan(number, seed=seed, share=kind.share, mix=kind.mix)
    slices = int(np.interp(plan.length, *zip(*kind.slices, strict=True)))
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt])
        grid = scenes.head_in_scanner(
            rng, plan, slices=slices, slice_mm=kind.slice_mm, top_mm=kind.top_mm, fov_mm=kind.field_of_view_mm
        )
        scene, broken = scenes.make_scene(rng, grid, plan, sizes=kind.sizes)
        clean, shares, cavity_cm2 = phantom_scan.draw(scene, slices, side=kind.side, fov_mm=kind.field_of_view_mm)
        masks, labels = read_masks(rng, shares, kind.field_of_view_mm / kind.side)
        if masks.any(axis=(1, 2, 3)).all():  # every planned bleed is large enough to be seen
            break
    slice_labels = np.zeros((slices, len(SUBTYPES)), bool)
    for i, lesion in enumerate(scene.lesions):
        slice_labels[:, lesion.subtype] |= labels[i]
    hu = phantom_scan.scan(rng, clean, cavity_cm2, side=kind.side, fov_mm=kind.field_of_view_mm)
    return PhantomSubject(
        number=number,
        hu=hu,
        mask=masks.any(axis=0).astype(np.uint8) if len(masks) else np.zeros(hu.shape, np.uint8),
        slice_labels=slice_labels,
        fracture=broken,
        affine=_affine(kind, slices),
        age_years=plan.age_years,
        sex=plan.sex,
        chronic=plan.chronic,
    )


def _affine(kind: Preset, slices: int) -> np.ndarray:
    """Maps (d, h, w, 1) to RAS+ mm: axis 0 to the head, 1 to the back, 2 to the left; centred on the head."""
    pixel = kind.field_of_view_mm / kind.side
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = kind.slice_mm, -pixel, -pixel
    affine[:3, 3] = (kind.side - 1) * pixel / 2, (kind.side - 1) * pixel / 2, -(slices - 1) * kind.slice_mm / 2
    affine[3, 3] = 1
    return affine


def write_dataset(
    root: pathlib.Path,
    *,
    subjects: int,
    seed: int = 0,
    preset: str = "demo",
    layout: str = "nifti",
    workers: int | None = None,
) -> None:
    """Writes `subjects` phantoms, numbered from 49, as a data set.

    Args:
      root: the folder to write; made if it does not exist.
      layout: 'nifti' (release 1.3.1 of ct-ich), 'jpeg' (its releases 1.0.0 to 1.2.0) or 'own' (one's own scans).
      workers: processes; None takes one for every core. The result does not depend on it.

    Raises:
      InputError: an unknown preset or layout, or fewer than one subject.
    """
    if preset not in PRESETS:
        raise InputError(f"no phantom preset is called {preset!r}; expected one of {', '.join(PRESETS)}")
    if layout not in WRITERS:
        raise InputError(f"no layout of a data set is called {layout!r}; expected one of {', '.join(WRITERS)}")
    if subjects < 1:
        raise InputError(f"a data set of {subjects} phantoms was asked for; expected at least 1")
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if layout == "nifti":
        (root / NIFTI_MASKS).mkdir(exist_ok=True)  # there even if nobody bleeds
    numbers = range(FIRST_NUMBER, FIRST_NUMBER + subjects)
    make = functools.partial(_make_and_write, str(root), layout, seed, preset)
    workers = min(workers or len(os.sched_getaffinity(0)), subjects)
    bar = functools.partial(tqdm.tqdm, total=subjects, desc="phantoms", unit="subject", disable=None)
    if workers == 1:
        rows = list(bar(map(make, numbers)))
    else:
        # Spawned, not forked: the caller may hold threads, and every worker starts from the same blank state.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            rows = list(bar(pool.map(make, numbers)))
    WRITERS[layout].write_tables(
        root,
        [row for slice_rows, _ in rows for row in slice_rows],
        [row for _, row in rows],
        footer=f"Synthetic data, no patients: ichjax phantoms, preset {preset}, seed {seed}",
    )


def _make_and_write(root: str, layout: str, seed: int, preset: str, number: int):
    """Makes and writes one subject; returns its rows of both tables."""
    subject = make_subject(number, seed=seed, preset=preset)
    WRITERS[layout].write_scan(pathlib.Path(root), subject)
    return WRITERS[layout].slice_rows(subject), WRITERS[layout].subject_row(subject)
