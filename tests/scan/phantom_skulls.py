"""Phantoms with the true inside of their skull."""

import dataclasses

import numpy as np

from ichjax.phantom import fields as pf
from ichjax.phantom import plan as plans
from ichjax.phantom import scan as phantom_scan
from ichjax.phantom import scene as scenes
from ichjax.phantom import subject
from ichjax.phantom.reader import read_masks

FORAMEN_MM, BASE_MM = -38.0, 25.0  # head mm: of the foramen magnum, and above all of the skull base
FOV_MM = 214.5
MIN_SKULL_HU = 120  # brighter than blood


@dataclasses.dataclass(frozen=True, eq=False)
class Skull:
    """A phantom and what is true of it.

    Attributes:
      hu: int16 [D, H, W].
      blood: bool [D, H, W], what the reader outlined and what lesions occupy by half, where bone does not hide it.
      cavity: bool [D, H, W], the cranial cavity above the foramen magnum.
      canal: bool [D, H, W], all that lies below the foramen magnum.
      high: bool [D], the slices above the skull base.
      spacing_mm: of slices, rows and columns.
      age_years: of the subject.
    """

    hu: np.ndarray
    blood: np.ndarray
    cavity: np.ndarray
    canal: np.ndarray
    high: np.ndarray
    spacing_mm: tuple[float, float, float]
    age_years: float


def make_skull(number: int, *, seed: int, preset: str) -> Skull:
    """The subject of a synthetic data set, as `subject.make_subject` draws it at its first attempt."""
    kind = subject.PRESETS[preset]
    plan = plans.make_plan(number, seed=seed, share=kind.share, mix=kind.mix)
    slices, rng = int(np.interp(plan.length, *np.transpose(kind.slices))), np.random.default_rng([seed, number, 0])
    grid = scenes.head_in_scanner(rng, plan, slices=slices, slice_mm=kind.slice_mm, top_mm=kind.top_mm, fov_mm=FOV_MM)
    return _scan(rng, grid, plan, side=kind.side, slice_mm=kind.slice_mm, sizes=kind.sizes)


def make_posed_skull(
    seed: int,
    *,
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    bottom_mm: float = -60.0,
    top_mm: float = 115.0,
    slice_mm: float = 5.0,
    side: int = 256,
) -> Skull:
    """An adult with a bleed, by (yaw, roll, pitch) of the head and the heights of the end slices above the sella."""
    kind = subject.PRESETS["demo"]
    adults = (plans.make_plan(n, seed=seed, share=1.0, mix=kind.mix) for n in range(49, 99))
    plan = next(plan for plan in adults if plan.age_years > 20 and plan.subtypes)
    slices = 1 + round((top_mm - bottom_mm) / slice_mm)
    centered = np.sin(np.deg2rad([-rotation_deg[1], rotation_deg[2]])) * scenes.CENTER_MM
    grid = pf.make_grid(
        slices=slices,
        slice_mm=slice_mm,
        bottom_mm=bottom_mm,
        fov_mm=FOV_MM,
        rotation_deg=rotation_deg,
        shift_mm=(centered[0], 5.0 + centered[1]),
    )
    return _scan(np.random.default_rng(seed), grid, plan, side=side, slice_mm=slice_mm, sizes=kind.sizes)


def remove_bone(skull: Skull, center: tuple[int, int, int], diameter_mm: float) -> np.ndarray:
    """The HU with scalp in place of all bone around a voxel (d, h, w), as after a craniectomy."""
    offsets = np.indices(skull.hu.shape) - np.reshape(center, (3, 1, 1, 1))
    distance_mm = np.sqrt(np.square(offsets * np.reshape(skull.spacing_mm, (3, 1, 1, 1))).sum(axis=0))
    bone = (skull.hu > MIN_SKULL_HU) & (distance_mm < diameter_mm / 2) & ~skull.blood
    scalp = np.random.default_rng(0).normal(40, 5, skull.hu.shape)
    return np.where(bone, np.rint(scalp), skull.hu).astype(np.int16)


def _scan(
    rng: np.random.Generator,
    grid: pf.Grid,
    plan: plans.Plan,
    *,
    side: int,
    slice_mm: float,
    sizes: tuple[float, float],
) -> Skull:
    scene, _ = scenes.make_scene(rng, grid, plan, sizes=sizes)
    slices = grid.shape[0] // pf.SUB
    clean, shares, area = phantom_scan.draw(scene, slices, side=side, fov_mm=FOV_MM)
    hidden = phantom_scan.hidden_by_bone(clean, side=side, fov_mm=FOV_MM)
    masks, _ = read_masks(rng, shares, hidden, FOV_MM / side)
    image = phantom_scan.scan(rng, clean, area, side=side, fov_mm=FOV_MM)
    phantom_scan.settle_blood(image, scene.lesions, shares, masks, fov_mm=FOV_MM)
    inner, height = (_mean_of_slices(field) for field in (scene.head.wall < 0, np.broadcast_to(grid.z, grid.shape)))
    cavity, canal = inner >= 0.5, height < FORAMEN_MM
    lowest = np.array([plane[inside].min(initial=99) for plane, inside in zip(height, cavity & ~canal, strict=True)])
    pixels = np.ones((1, side // pf.COARSE, side // pf.COARSE), bool)
    return Skull(
        phantom_scan.digitize(image),
        masks.any(axis=0) | ((shares.max(axis=0, initial=0) >= 0.5) & ~hidden),
        np.kron(cavity & ~canal, pixels),
        np.kron(canal, pixels),
        lowest > BASE_MM,
        (slice_mm, FOV_MM / side, FOV_MM / side),
        plan.age_years,
    )


def _mean_of_slices(field: np.ndarray) -> np.ndarray:
    """[S, 128, 128] averaged over the sub-slices of each slice."""
    return field.reshape(-1, pf.SUB, *field.shape[1:]).mean(axis=1)
