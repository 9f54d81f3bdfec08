"""Synthetic head CTs with hemorrhages, in the layout of the public data set.

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
from scipy import ndimage

from ichjax.data import phantom_brain, phantom_compose, phantom_head, phantom_physics, phantom_plan, phantom_write
from ichjax.data import phantom_fields as pf
from ichjax.data import phantom_lesions as pl
from ichjax.data.phantom_reader import read_masks
from ichjax.errors import InputError

SUBTYPES = ("IVH", "IPH", "SAH", "EDH", "SDH")
FINE = 256  # pixels along a slice while tissue is composed
BLUR_MM = 0.55  # SD of the scanner's in-plane blur; its tails:
TAIL, TAIL_MM = 0.05, 1.9
VERTEX = 2.2  # rise of that error towards the vertex, fitted to a real scan
STREAK = 1.0  # of the beam-hardening error, fitted to a real scan
PHOTONS = 1.0e7  # per ray, fitted to a real scan's noise
ORIENTED, GRAIN = 0.45, 0.7  # shares of the streaked and of the fine noise


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a set of phantoms looks like.

    Attributes:
      side: pixels along a slice; `field_of_view_mm` its size.
      slices: quantiles of the number of slices, pairs of a share of subjects and a number.
      slice_mm: distance and thickness of slices.
      bottom_mm: height of the lowest slice of the shortest scan, above the sella.
      top_mm: height of the highest slice, about; scans with more slices reach further down.
      share: of subjects with a hemorrhage; `mix` their sub-types.
      sizes: of the lesions.
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
        mix=phantom_plan.REAL_MIX,
        sizes=pl.Sizes(),
    ),
    "demo": Preset(
        name="demo",
        side=256,
        field_of_view_mm=214.5,
        slices=((0.0, 12), (1.0, 18.99)),
        slice_mm=8.0,
        top_mm=97.0,
        share=0.6,
        mix=phantom_plan.DEMO_MIX,
        sizes=pl.Sizes(extent=1.35, depth=1.3),
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
    plan = phantom_plan.make_plan(number, seed=seed, share=kind.share, mix=kind.mix)
    rng = np.random.default_rng([seed, number, 1])
    slices = int(np.interp(plan.quantile, *zip(*kind.slices, strict=True)))
    grid = _head_in_scanner(rng, kind, plan, slices)
    scene, broken = _scene(rng, grid, plan, kind.sizes)
    clean, shares, cavity_cm2 = _draw(scene, slices, kind.side, kind.field_of_view_mm / kind.side)
    masks, labels = read_masks(rng, shares, kind.field_of_view_mm / kind.side)
    slice_labels = np.zeros((slices, len(SUBTYPES)), bool)
    for i, lesion in enumerate(scene.lesions):
        slice_labels[:, lesion.subtype] |= labels[i]
    hu = _scan(rng, clean, cavity_cm2, kind)
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


def head_scale(age_years: float) -> float:
    """Size of the head relative to an adult's, after the growth of its circumference."""
    return float(np.interp(age_years, (0, 0.25, 1, 2, 5, 10, 18), (0.64, 0.73, 0.84, 0.89, 0.94, 0.97, 1.0)))


def infancy(age_years: float) -> float:
    """1 for a newborn, falling to 0 at two years."""
    return float(np.clip(1 - age_years / 2.0, 0, 1))


def _head_in_scanner(rng: np.random.Generator, kind: Preset, plan, slices: int) -> pf.Grid:
    """Places this subject's head: its size, its asymmetry, how it lies."""
    size = head_scale(plan.age_years)
    scale = size * (1 + rng.normal(0, 0.018)) * (1 + rng.normal(0, 0.015, 3))
    bottom = kind.top_mm * size + rng.uniform(-3, 3) - (slices - 1) * kind.slice_mm
    shape = (slices * pf.SUB, pf.COARSE, pf.COARSE)
    step = (kind.slice_mm / pf.SUB, kind.field_of_view_mm / pf.COARSE, kind.field_of_view_mm / pf.COARSE)
    warp = np.stack([pf.noise(rng, shape, step, 55.0) for _ in range(3)]) * np.float32(1.6)
    return pf.make_grid(
        slices=slices,
        slice_mm=kind.slice_mm,
        bottom_mm=bottom,
        fov_mm=kind.field_of_view_mm,
        rotation_deg=(rng.normal(0, 4), rng.normal(0, 2), rng.normal(-3, 4)),
        shift_mm=(rng.normal(0, 2), 5.0 + rng.normal(0, 1.5)),
        scale=scale,
        warp=warp,
        shear=rng.normal(0, 0.025),
    )


def _scene(rng: np.random.Generator, grid: pf.Grid, plan, sizes: pl.Sizes):
    """All fields of one subject, and on which slices the bone is broken."""
    young = infancy(plan.age_years)
    head = phantom_head.make_head(rng, grid, infancy=young)
    side = int(rng.choice([-1, 1]))
    low, high = ((25, -65, 8), (80, 65, 62))
    site = pl.site_on_wall(rng, grid, head.wall, low=low, high=high, side=side)
    flat = grid.z - phantom_brain.tent(grid)
    trauma = plan.fracture or "EDH" in plan.subtypes or plan.age_years < 40
    first = []
    for name in plan.subtypes:
        if name == "EDH":
            first.append(pl.epidural(rng, grid, head.wall, site=site, sizes=sizes, chronic=plan.chronic))
        elif name == "SDH":
            spot = pl.site_on_wall(
                rng, grid, head.wall, low=(30, -50, 25), high=(80, 50, 60), side=-side if len(first) else side
            )
            first.append(
                pl.subdural(
                    rng, grid, head.wall, flat, site=spot, side=-side if len(first) else side, sizes=sizes,
                    chronic=plan.chronic,
                )
            )  # fmt: skip
        elif name == "IPH":
            first.append(
                pl.intraparenchymal(
                    rng, grid, head.wall, side=-side if first else side, trauma=trauma, sizes=sizes,
                    chronic=plan.chronic,
                )
            )  # fmt: skip
    pushed = pl.mass_effect(grid, first)
    brain = phantom_brain.make_brain(rng, pushed, head.wall, age_years=plan.age_years)
    if "IVH" in plan.subtypes:
        first.append(pl.intraventricular(rng, grid, brain, chronic=plan.chronic))
    if "SAH" in plan.subtypes:
        first.append(
            pl.subarachnoid(
                rng, pushed, head.wall, side=side, cisternal=bool(rng.uniform() < 0.4), sizes=sizes,
                chronic=plan.chronic,
            )
        )  # fmt: skip
    crack, swelling = None, None
    broken = np.zeros(len(grid.z_mm) // pf.SUB, bool)
    if plan.fracture:
        crack = pl.fracture(rng, grid, site)
        visible = (crack < 0) & (head.wall > 0) & (head.wall < head.thickness)
        broken = visible.reshape(len(broken), -1).sum(axis=1) > 4
    if plan.fracture or ("EDH" in plan.subtypes and rng.uniform() < 0.5):
        head, swelling = pl.scalp_swelling(rng, grid, head, site)
    tissue = phantom_compose.Tissue(
        white=27 - 6 * young + rng.normal(0, 0.7),
        gray=35 - 5 * young + rng.normal(0, 0.7),
        table=1550 - 850 * young + rng.normal(0, 80),
        diploe=560 + rng.normal(0, 60),
        infancy=young,
    )
    scene = phantom_compose.Scene(
        head=head,
        brain=brain,
        lesions=tuple(first),
        tissue=tissue,
        texture=pf.noise(rng, grid.shape, grid.step_mm, 3.4),
        broad=pf.noise(rng, grid.shape, grid.step_mm, 12.0),
        suture=phantom_head.sutures(rng, grid, infancy=young),
        crack=crack,
        swelling=swelling,
    )
    return scene, broken


def _draw(scene: phantom_compose.Scene, slices: int, side: int, pixel_mm: float):
    """(HU [D, 256, 256] before physics, shares [L, D, side, side], area of the cavity [D] in cm2)."""
    hu = np.empty((slices, FINE, FINE), np.float32)
    cavity_cm2 = np.zeros(slices)
    shares = np.zeros((len(scene.lesions), slices, side, side), np.float32)
    for k in range(slices):
        hu[k], found = phantom_compose.draw_slice(scene, k, FINE, max(0.9, pixel_mm))
        for i, share in found.items():
            shares[i, k] = share if side == FINE else np.clip(pf.upsample(share, side), 0, 1)
        inner = scene.head.wall[k * pf.SUB : (k + 1) * pf.SUB] < 0
        cavity_cm2[k] = inner.sum() / pf.SUB * (pixel_mm * side / pf.COARSE / 10) ** 2
    return hu, shares, cavity_cm2


def _scan(rng: np.random.Generator, clean: np.ndarray, cavity_cm2: np.ndarray, kind: Preset) -> np.ndarray:
    """Adds streaks, cupping, blur and noise to HU [D, 256, 256]; int16 [D, side, side]."""
    coarse = clean.reshape(len(clean), phantom_physics.GRID, 2, phantom_physics.GRID, 2).mean(axis=(2, 4))
    pixel = kind.field_of_view_mm / phantom_physics.GRID
    share = np.clip((coarse - 110) / 350, 0, 1)
    density = 1 + np.maximum(coarse, -1000) / 1000
    soft, bone = density * (1 - share), density * share
    streak = phantom_physics.hardening(soft, bone, pixel) * np.float32(STREAK)
    streak *= _cupping(cavity_cm2)[:, None, None]
    oriented, spread = phantom_physics.quantum_noise(rng, soft, bone, pixel, PHOTONS)
    fine_mm = kind.field_of_view_mm / kind.side
    out = np.empty((len(clean), kind.side, kind.side), np.int16)
    for k in range(len(clean)):
        sharp = clean[k] if kind.side == FINE else pf.upsample(clean[k], kind.side)
        sharp = ndimage.gaussian_filter(sharp, BLUR_MM / fine_mm, truncate=3.0)
        tail = ndimage.gaussian_filter(clean[k], TAIL_MM * FINE / kind.field_of_view_mm, truncate=3.0)
        tail = tail if kind.side == FINE else pf.upsample(tail, kind.side)
        sharp += TAIL * (tail - sharp)
        both = pf.upsample(np.stack([streak[k], oriented[k], spread[k]]), kind.side)
        grain = phantom_physics.grain(rng, 1, kind.side, fine_mm)[0]
        image = sharp + both[0] + ORIENTED * both[1] + GRAIN * np.maximum(both[2], 0) * grain
        out[k] = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return out


def _cupping(cavity_cm2: np.ndarray) -> np.ndarray:
    """Factor on the beam hardening of each slice, float32 [D]: near the vertex a real scanner's correction, made
    for larger heads, leaves more of it."""
    above = np.arange(len(cavity_cm2)) > np.argmax(cavity_cm2)
    factor = np.interp(cavity_cm2 / cavity_cm2.max(), (0.2, 0.7), (VERTEX, 1.0))
    return np.where(above, factor, 1.0).astype(np.float32)


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
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Writes `subjects` phantoms, numbered from 49, as a data set in the nifti layout.

    Args:
      root: the folder to write; made if it does not exist.
      workers: processes; None takes one for every core. The result does not depend on it.
      progress: whether to show a progress bar.

    Raises:
      InputError: an unknown preset, or fewer than one subject.
    """
    if preset not in PRESETS:
        raise InputError(f"no phantom preset is called {preset!r}; expected one of {', '.join(PRESETS)}")
    if subjects < 1:
        raise InputError(f"a data set of {subjects} phantoms was asked for; expected at least 1")
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    numbers = range(phantom_plan.FIRST_NUMBER, phantom_plan.FIRST_NUMBER + subjects)
    make = functools.partial(_make_and_write, str(root), seed, preset)
    workers = min(workers or len(os.sched_getaffinity(0)), subjects)
    bar = functools.partial(tqdm.tqdm, total=subjects, desc="phantoms", unit="subject", disable=not progress)
    if workers == 1:
        rows = list(bar(map(make, numbers)))
    else:
        # Spawned, not forked: the caller may hold threads, and every worker starts from the same blank state.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            rows = list(bar(pool.map(make, numbers)))
    phantom_write.write_tables(
        root,
        [row for slice_rows, _ in rows for row in slice_rows],
        [row for _, row in rows],
        footer=f"Synthetic data, no patients: ichjax phantoms, preset {preset}, seed {seed}",
    )


def _make_and_write(root: str, seed: int, preset: str, number: int):
    """Makes and writes one subject; returns its rows of both tables."""
    subject = make_subject(number, seed=seed, preset=preset)
    phantom_write.write_scan(pathlib.Path(root), subject)
    return phantom_write.slice_rows(subject), phantom_write.subject_row(subject)
