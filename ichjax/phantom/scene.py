"""Builds the scene of one phantom subject: head pose, brain, bleeds and confounders."""

import numpy as np
from numpy.random import Generator

from ichjax.data.label_tables import FIRST_NUMBER
from ichjax.phantom import blood, compose, trauma
from ichjax.phantom import brain as brains
from ichjax.phantom import fields as pf
from ichjax.phantom import head as heads
from ichjax.phantom import lesions as pl
from ichjax.phantom.plan import Plan

METAL_EVERY, METAL_INDEX = 50, 13  # one subject in fifty has a clip
MAX_TURN_DEG, MAX_TILT_DEG = 10.0, 20.0  # to the sides, and of the slices against the head
FORWARD = 0.7  # share of the heads whose slices are higher in front than at the back
CENTER_MM = 25.0  # height above the sella of the point that lies at the center of the image


def head_scale(age_years: float) -> float:
    """Size of the head relative to an adult's, from growth curves of its circumference."""
    return float(np.interp(age_years, (0, 0.25, 1, 2, 5, 10, 18), (0.64, 0.73, 0.84, 0.89, 0.94, 0.97, 1.0)))


def infancy(age_years: float) -> float:
    """1 for a newborn, falling to 0 at two years."""
    return float(np.clip(1 - age_years / 2.0, 0, 1))


def head_in_scanner(
    rng: Generator, plan: Plan, *, slices: int, slice_mm: float, top_mm: tuple[float, float, float], fov_mm: float
) -> pf.Grid:
    """Draws the size, asymmetry and pose of this subject's head, and where the scan begins.

    Half of the scans begin at the skull base, the others between atlas and teeth, as far as their length allows.

    Args:
      slices, slice_mm: number and spacing of the slices.
      top_mm: see `Preset`.
      fov_mm: side of the image.
    """
    size = head_scale(plan.age_years)
    scale = size * (1 + rng.normal(0, 0.018)) * (1 + rng.normal(0, 0.015, 3))
    low = rng.uniform() < 0.5
    start = size * (rng.uniform(-82, -52) if low else rng.uniform(-50, -30))
    lowest, usual, highest = top_mm
    length = (slices - 1) * slice_mm
    bottom = float(np.clip(start, (lowest if low else usual) * size - length, highest * size - length))
    shape = (slices * pf.SUB, pf.COARSE, pf.COARSE)
    step = (slice_mm / pf.SUB, fov_mm / pf.COARSE, fov_mm / pf.COARSE)
    warp = np.stack([pf.noise(rng, shape, step, 55.0) for _ in range(3)]) * np.float32(1.6)
    yaw, roll = np.clip(rng.normal(0, 4.5, 2), -MAX_TURN_DEG, MAX_TURN_DEG)
    tilt = rng.uniform(0, MAX_TILT_DEG) * (1 if rng.uniform() < FORWARD else -1)
    # The head turns about the sella; what is centered in the image lies higher.
    centered = CENTER_MM * size * np.sin(np.deg2rad([-roll, tilt]))
    return pf.make_grid(
        slices=slices,
        slice_mm=slice_mm,
        bottom_mm=bottom,
        fov_mm=fov_mm,
        rotation_deg=(float(yaw), float(roll), tilt),
        shift_mm=(centered[0] + rng.normal(0, 2), 5.0 + centered[1] + rng.normal(0, 1.5)),
        scale=scale,
        warp=warp,
        shear=rng.normal(0, 0.025),
    )


def make_scene(
    rng: Generator, grid: pf.Grid, plan: Plan, *, sizes: tuple[float, float]
) -> tuple[compose.Scene, np.ndarray]:
    """(all fields of one subject; whether the fracture is visible on each slice, bool [D]).

    `sizes`: lowest and highest quantile of the bleeds' volumes.
    """
    young = infancy(plan.age_years)
    amounts = _amounts(plan, sizes)
    waves = pf.irregularity(rng, grid)
    head = heads.make_head(rng, grid, waves, age_years=plan.age_years, infancy=young)
    side = int(rng.choice([-1, 1]))
    site = pl.site_on_wall(rng, grid, head.wall, low=(25, -62, 2), high=(80, 65, 52), side=side)
    lesions = _space_occupying_bleeds(rng, grid, head.wall, plan, amounts, site=site, side=side)
    pushed = pl.mass_effect(grid, lesions).moved(waves)
    brain = brains.make_brain(rng, pushed, head.wall, age_years=plan.age_years)
    if "IVH" in plan.subtypes:
        lesions.append(pl.intraventricular(rng, grid, brain, amount=amounts["IVH"]))
    if "SAH" in plan.subtypes:
        lesions.append(pl.subarachnoid(rng, pushed, head.wall, brain, side=side, amount=amounts["SAH"]))
    slices = grid.shape[0] // pf.SUB
    crack, swelling, broken = None, None, np.zeros(slices, bool)
    if plan.fracture:
        crack = trauma.fracture(rng, grid, site)
        visible = (crack < 0) & (head.wall > 0) & (head.wall < head.thickness)
        broken[:] = visible.reshape(slices, -1).any(axis=1)
    if plan.fracture or ("EDH" in plan.subtypes and rng.uniform() < 0.5):
        head, swelling = trauma.scalp_swelling(rng, grid, head, site)
    infarct = None
    if plan.age_years > 45 and rng.uniform() < 0.25:
        infarct = trauma.old_infarct(rng, grid, head.wall, side=-side)
    scene = compose.Scene(
        head=head,
        brain=brain,
        lesions=tuple(lesions),
        tissue=compose.Tissue(
            white=27 - 6 * young + rng.normal(0, 0.7),
            gray=35 - 5 * young + rng.normal(0, 0.7),
            table=1550 - 850 * young + rng.normal(0, 80),
            diploe=560 + rng.normal(0, 60),
            mucosa=rng.uniform(10, 40),
            infancy=young,
        ),
        texture=pf.noise(rng, grid.shape, grid.step_mm, 3.4),
        broad=pf.noise(rng, grid.shape, grid.step_mm, 12.0),
        back=grid.y / np.float32(60.0),
        suture=heads.sutures(rng, grid, infancy=young),
        crack=crack,
        swelling=swelling,
        infarct=infarct,
        metal=_metal_clip(rng, grid) if (plan.number - FIRST_NUMBER) % METAL_EVERY == METAL_INDEX else None,
        face=_blurred_face(grid, head),
    )
    return scene, broken


def _amounts(plan: Plan, sizes: tuple[float, float]) -> dict[str, blood.Amount]:
    """{sub-type: the amount of blood}; infants bleed less, in proportion to their heads."""
    scale = min(head_scale(plan.age_years) / head_scale(2), 1.0)
    return {
        name: blood.draw(
            name,
            brightness=bright,
            size=float(np.interp(size, (0, 1), sizes)),
            scale=scale,
            chronic=plan.chronic,
        )
        for name, bright, size in zip(plan.subtypes, plan.brightness, plan.sizes, strict=True)
    }


def _space_occupying_bleeds(
    rng: Generator,
    grid: pf.Grid,
    wall: np.ndarray,
    plan: Plan,
    amounts: dict[str, blood.Amount],
    *,
    site: pf.Index,
    side: int,
) -> list[pl.Lesion]:
    """EDH (at `site`), SDH and IPH, which displace the brain; the first lies on `side`, the others opposite."""
    lesions: list[pl.Lesion] = []
    traumatic = plan.fracture or "EDH" in plan.subtypes or plan.age_years < 40
    for name, amount in amounts.items():
        where = -side if lesions else side
        if name == "EDH":
            lesions.append(pl.epidural(rng, grid, wall, site=site, amount=amount))
        elif name == "SDH":
            spot = pl.site_on_wall(rng, grid, wall, low=(30, -50, 25), high=(80, 50, 60), side=where)
            lesions.append(pl.subdural(rng, grid, wall, site=spot, side=where, amount=amount))
        elif name == "IPH":
            lesions.append(pl.intraparenchymal(rng, grid, wall, side=where, trauma=traumatic, amount=amount))
    return lesions


def _metal_clip(rng: Generator, grid: pf.Grid) -> np.ndarray:
    """Signed field of a metal clip near the base of the brain."""
    field = grid.empty()
    center = np.array([rng.choice([-1, 1]) * rng.uniform(8, 30), -14.0, rng.uniform(6, 14)])
    pf.add_tube(field, grid, [center, center + rng.normal(0, 5, 3)], [1.3, 1.0])
    return field


def _blurred_face(grid: pf.Grid, head: heads.Head) -> np.ndarray:
    """Where the public data set blurs faces, near the anterior skin below the brow: weight in [0, 1]."""
    weight = pf.inside(grid.y + 66, 10.0) * pf.inside(grid.z - 2, 8.0) * pf.inside(-head.skin - 13, 6.0)
    return weight * pf.inside(3 - head.wall, 4.0)
