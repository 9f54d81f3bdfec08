"""Phantom skull vault and cranial cavity as signed fields, and the whole head put together."""

import dataclasses

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from ichjax.phantom import airways, facial_bones, mouth, neck, orbit, skull_base, spine
from ichjax.phantom import fields as pf
from ichjax.phantom import skin as skins
from ichjax.phantom.soft_tissue import SoftTissue

VAULT_CENTER_Z = 18.0  # height above the sella, mm
MAX_OUTSIDE = np.float32(30.0)  # the cavity's field further out, mm: what `cavity` reaches around the spinal canal


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """Signed fields of one head, float32 [S, 128, 128], mm, negative inside.

    Attributes:
      wall: distance to the inner table; negative in the cranial cavity.
      thickness: thickness of the vault, mm; not a signed field.
      bone: bones of skull base and face.
      dense: dense cores of the petrous bones.
      teeth: crowns and roots of the teeth.
      air: sinuses, airways and mastoid cells.
      mucosa: the cavities that hold this air, with their mucosa and fluid.
      skin: the outer surface of the head.
      muscle: muscle, glands and vessels outside the skull; the rest of the soft tissue there is fat.
      muscle_hu: HU of the nearest of these; not a signed field.
      globe, lens: of the eyes.
      table: the head holder, [128, 128], the same on all slices.
    """

    wall: np.ndarray
    thickness: np.ndarray
    bone: np.ndarray
    dense: np.ndarray
    teeth: np.ndarray
    air: np.ndarray
    mucosa: np.ndarray
    skin: np.ndarray
    muscle: np.ndarray
    muscle_hu: np.ndarray
    globe: np.ndarray
    lens: np.ndarray
    table: np.ndarray


def make_head(rng: Generator, grid: pf.Grid, waves: np.ndarray, *, age_years: float, infancy: float) -> Head:
    """Builds skull, skin, face and neck.

    Args:
      waves: displacement that makes anatomy irregular, see `pf.irregularity`.
      infancy: 1 for a newborn, 0 from two years on; infants have thin single-layered bone, small sinuses and open
        sutures.
    """
    lower = grid.moved(_proportions(rng, grid))
    # The skull base is irregular and asymmetric; the vault is smoother.
    rough = lower.moved(waves * np.clip((26 - grid.z) / np.float32(22), 0.2, 1.0))
    half_axes = rng.normal((67, 82, 84, 72), (1.5, 2, 2, 2))
    wall = to_distance(cavity(rough, half_axes), grid)
    thickness = vault_thickness(rng, rough, infancy=infancy)
    jaw = np.array([0.0, rng.normal(-1, 2.5), rng.uniform(-8, 4)])
    bone, dense = _bones(rough, jaw, infancy=infancy)
    skin = skins.skin_surface(rng, lower, vault(grid, half_axes), wall - thickness)
    air, mucosa = airways.airways(rng, rough, infancy=infancy)
    globe, lens, eye = orbit.globes_and_lenses(rng, rough)
    muscle, muscle_hu = _soft_tissue(rng, rough, jaw, eye, skin=skin, outer=wall - thickness)
    return Head(
        wall=wall,
        thickness=thickness,
        bone=np.maximum(bone, 1.2 - wall),  # never inside the cavity
        dense=dense,
        teeth=facial_bones.teeth(rng, rough, jaw, age_years=age_years),
        air=air,
        mucosa=mucosa,
        skin=skin,
        muscle=muscle,
        muscle_hu=muscle_hu,
        globe=globe,
        lens=lens,
        table=skins.head_holder(rng, grid, skin),
    )


def _proportions(rng: Generator, grid: pf.Grid) -> np.ndarray:
    """Displacement that makes faces and necks long or short, wide or narrow; float32 [3, S, 128, 128].

    It stays mostly below the margin of `Grid.box`, 8 mm.
    """
    below = np.maximum(-20 - grid.z, 0)
    face = np.minimum(below, 90) * np.clip((10 - grid.y) / 40, 0, 1)
    wide, forward, tall = rng.normal(0, (0.06, 0.05, 0.05))
    grow = np.clip(below / 40, 0, 1)
    bend = 0.0003 * rng.normal(0, 1) * np.minimum(below, 120) ** 2  # of the neck against the head
    by = np.stack([-wide * grow * grid.x, -forward * face - bend, tall * np.minimum(below, 100)])
    return by.astype(np.float32)


def _bones(grid: pf.Grid, jaw: np.ndarray, *, infancy: float) -> tuple[np.ndarray, np.ndarray]:
    """(bones of skull base, face and neck; dense cores of the petrous pyramids)."""
    bone, dense = grid.empty(), grid.empty()
    skull_base.add_base(bone, dense, grid)
    facial_bones.add_upper_face(bone, grid)
    facial_bones.add_mandible(bone, grid, jaw)
    spine.add_vertebrae(bone, grid)
    return (bone + np.float32(1.0) if infancy > 0.5 else bone), dense


def _soft_tissue(
    rng: Generator, grid: pf.Grid, jaw: np.ndarray, eye: np.ndarray, *, skin: np.ndarray, outer: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(signed field, HU) of muscles, glands and vessels outside the skull."""
    tissue = SoftTissue(rng, grid, muscle_hu=rng.uniform(55, 65))
    neck.add_neck(tissue)
    mouth.add_mouth(tissue, jaw)
    orbit.add_orbit(tissue, eye)
    temple = np.maximum(pf.ellipsoid((grid.x, grid.y, grid.z), (0, -24, 4), (90, 44, 54)), 46 - np.abs(grid.x))
    tissue.add(np.maximum(temple, np.maximum(skin + 4, 0.4 - outer)))
    fibers = pf.noise(rng, grid.shape, grid.step_mm, 3.4)
    fat = np.clip((grid.y - 10) / 20, 0, 1) * np.float32(rng.uniform(0.5, 6)) + np.float32(2.5)  # under the skin
    return np.maximum(tissue.field(fibers), skin + fat), tissue.hu


def vault(grid: pf.Grid, half_axes: np.ndarray) -> np.ndarray:
    """The vault without the skull base, signed distance along the radius in head mm: wide at the back, a little boxy.

    Args:
      half_axes: (half width, front, back, height) from the vault's center, mm.
    """
    wide, front, back, top = (np.float32(a) for a in half_axes)
    x, dy, up = grid.x, grid.y, grid.z - np.float32(VAULT_CENTER_Z)
    t = dy / np.float32(80.0)
    half = wide * (1 + np.float32(0.10) * t - np.float32(0.06) * t * t)
    u = np.abs(x) / np.maximum(half, 20)
    v = np.abs(dy) / np.where(dy > 0, back, front)
    w = np.abs(up) / np.where(up > 0, top, np.float32(92.0))
    u, v, w = u * u, v * v, w * w
    square = u + v + w
    # Along its diagonals the skull reaches 5 to 7 % further than an ellipsoid.
    boxy = 1 - np.float32(0.10) * (1 - (u * u + v * v + w * w) / np.maximum(square * square, np.float32(1e-6)))
    q = np.sqrt(square) * boxy
    return np.sqrt(x * x + dy * dy + up * up) * (1 - 1 / np.maximum(q, np.float32(0.05)))


def cavity(grid: pf.Grid, half_axes: np.ndarray) -> np.ndarray:
    """The cranial cavity: the vault above the skull base, joined to the spinal canal."""
    inner = vault(grid, half_axes)
    base = grid.box((-200, -200, -400), (200, 200, 22))
    bx, by, bz = grid.at(base)
    inner[base] = pf.smooth_max(inner[base], (skull_floor(bx, by) - bz) * np.float32(0.75), 6.0)
    np.minimum(inner, MAX_OUTSIDE, out=inner)
    canal = grid.box((-44, -12, -400), (44, 72, -30))
    cx, cy, cz = grid.at(canal)
    tunnel = np.sqrt(cx * cx + ((cy - spine.canal_y(cz)) * np.float32(1.1)) ** 2)
    tunnel -= 9.5 + 5 * np.exp(-(((cz + 42) / 7) ** 2))
    inner[canal] = pf.smooth_min(inner[canal], np.maximum(tunnel, cz + 38).astype(np.float32), 6.0)
    return inner


def skull_floor(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the skull base over (x, y), mm; z = 0 is the level of the sella. Shape of the arguments.

    Three bowls (anterior, middle and posterior fossa) whose rims are the sphenoid and petrous ridges.
    """
    ax = np.abs(x)
    front = 1 + 9 * np.exp(-(((ax - 28) / 13) ** 2)) - 5 * np.exp(-((x / 7) ** 2)) + 0.9 * np.maximum(y + 30, 0)
    middle = -27 + 13 * ((ax - 40) / 21) ** 2 + 13 * ((y + 12) / 26) ** 2
    hind = -45 + 26 * (x / 50) ** 2 + 27 * ((y - 40) / 40) ** 2
    sella = 1 + 0.05 * x * x + 0.10 * (y + 20) ** 2 - 7 * np.exp(-((x / 7) ** 2) - ((y + 18) / 5) ** 2)
    floor = np.minimum(np.minimum(front, middle), np.minimum(hind, sella))
    petrous = -1 - 0.06 * np.maximum(ax - 30, 0) - 1.5 * _segment_distance(ax, y, (12, 2), (66, 36))
    sphenoid = 6 + 0.12 * (ax - 20) - 1.6 * _segment_distance(ax, y, (10, -26), (60, -44))
    return np.maximum(floor, np.maximum(petrous, sphenoid)).astype(np.float32)


def _segment_distance(x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Distance to a line segment in the (x, y) plane."""
    ax, ay = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * ax + (y - start[1]) * ay) / (ax * ax + ay * ay), 0, 1)
    return np.hypot(x - start[0] - t * ax, y - start[1] - t * ay)


def to_distance(field: np.ndarray, grid: pf.Grid) -> np.ndarray:
    """Converts an implicit field to signed distance in scanner mm by dividing by the magnitude of its gradient.

    Exact at the surface. Compared with a Euclidean distance transform, to a depth of 20 mm nine points in ten are
    within 10 % in the vault and within a third at the skull base, in a tenth of the time.
    """
    dz, dy, dx = np.gradient(field, *grid.step_mm)
    slope = ndimage.uniform_filter(np.sqrt(dx * dx + dy * dy + dz * dz), 5)  # smooths jumps where surfaces meet
    return field / np.maximum(slope, np.float32(0.4))


def vault_thickness(rng: Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Thickness of the vault: about 6 mm, thin at the temples, thick at forehead and occiput."""
    x, y, z = grid.x, grid.y, grid.z
    adult = 5.8 + rng.normal(0, 0.5) + 0.7 * pf.noise(rng, grid.shape, grid.step_mm, 22.0)
    adult -= 2.4 * np.exp(-(((np.abs(x) - 66) / 14) ** 2) - ((y + 15) / 30) ** 2 - ((z - 10) / 26) ** 2)
    adult += 5.5 * np.exp(-((x / 9) ** 2) - ((y - 86) / 14) ** 2 - ((z - 3) / 12) ** 2)  # occipital protuberance
    adult += 2.5 * np.exp(-((x / 12) ** 2) - ((y + 86) / 12) ** 2 - ((z - 12) / 25) ** 2)  # frontal crest
    adult -= 2.2 * np.clip((-z - 14) / 14, 0, 1)  # thin floor of the posterior fossa
    roof = np.clip((16 - z) / 6, 0, 1) * np.clip((-34 - y) / 6, 0, 1) * np.clip((54 - np.abs(x)) / 6, 0, 1)
    below = np.exp(-(((np.abs(x) - 40) / 18) ** 2) - ((y + 14) / 22) ** 2 - ((z + 26) / 9) ** 2)
    roof = np.maximum(roof, 0.8 * below)
    adult += roof * (1.8 - adult)  # thin orbital roofs and middle fossa floor
    adult = np.clip(adult, 1.6, 15)
    infant = 1.9 + 0.2 * pf.noise(rng, grid.shape, grid.step_mm, 30.0)
    thickness = adult + np.float32(infancy) * (np.clip(infant, 1.3, 2.6) - adult)
    # No bone of the vault around the spinal canal.
    return (-2 + (thickness + 2) * np.clip((z + 52) / 6, 0, 1)).astype(np.float32)


def sutures(rng: Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Sagittal, coronal and lambdoid sutures; wide in a newborn, with the anterior fontanelle."""
    x, y, z = grid.x, grid.y, grid.z
    wander = 1.5 * pf.noise(rng, grid.shape, grid.step_mm, 5.0)
    coronal = np.abs(y + 8 + 0.25 * (90 - z) + wander)
    lambdoid = np.abs(y - 68 - 0.35 * (z - 40) + 0.25 * np.abs(x) + wander)
    lambdoid = np.where(z > 10, lambdoid, 30)
    sagittal = np.where((z > 40) & (y > -12), np.abs(x + wander), 30)
    field = np.minimum(np.minimum(np.where(z > 5, coronal, 30), lambdoid), sagittal)
    half = 0.35 + 1.6 * infancy
    if infancy > 0.3:  # the fontanelle
        field = np.minimum(field, np.hypot(x, (y + 10) * 0.8) - 8 * infancy + np.where(z > 50, 0, 30))
    return (field - half).astype(np.float32)
