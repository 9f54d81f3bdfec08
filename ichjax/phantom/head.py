"""The phantom's skull, skin and face as signed fields on the coarse grid (mm, negative inside)."""

import dataclasses

import numpy as np
from scipy import ndimage

from ichjax.phantom import face
from ichjax.phantom import fields as pf

# The floor of the skull is a height over (x, y): three bowls (frontal, temporal, posterior fossa) whose rims are
# the sphenoid and petrous ridges. Heights in mm; z = 0 lies at the level of the sella.
VAULT_CENTRE = (0.0, 0.0, 18.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """Signed fields float32 [S, 128, 128] in mm of one head.

    Attributes:
      wall: distance to the inner table, negative inside the cavity of the skull (3-D).
      thickness: of the bone of the vault, mm.
      bone: the bones of base and face, beside the vault's shell.
      dense: the cores of the petrous bones.
      air: sinuses, airways and mastoid cells.
      skin: the head's outside.
      muscle: negative in muscle outside the skull; elsewhere is fat.
      globe, lens: of the eyes.
      table: the head holder, [128, 128]: it is the same on all slices.
    """

    wall: np.ndarray
    thickness: np.ndarray
    bone: np.ndarray
    dense: np.ndarray
    air: np.ndarray
    skin: np.ndarray
    muscle: np.ndarray
    globe: np.ndarray
    lens: np.ndarray
    table: np.ndarray


def make_head(rng: np.random.Generator, grid: pf.Grid, waves: np.ndarray, *, infancy: float) -> Head:
    """Builds skull, skin and face.

    Args:
      waves: float32 [3, S, 128, 128], displacement in mm that makes things irregular, see `pf.irregularity`.
      infancy: 1 for a newborn, 0 from about two years on: thin single-layered bone, no sinuses, open sutures.
    """
    # Irregular bones: no two halves of a skull base are alike; the vault is smoother.
    rough = grid.moved(waves * np.clip((26 - grid.z) / np.float32(22), 0.2, 1.0))
    half_axes = rng.normal((67, 82, 84, 72), (1.5, 2, 2, 2))
    wall = to_distance(cavity(rough, half_axes), grid)
    thick = thickness(rng, rough, infancy=infancy)
    bone, dense = face.base_bones(rough, infancy=infancy)
    bone = np.maximum(bone, 1.2 - wall)  # never inside the cavity
    skin = face.skin_surface(rng, grid, vault(grid, half_axes), wall - thick)
    return Head(
        wall=wall,
        thickness=thick,
        bone=bone,
        dense=dense,
        air=face.air_spaces(rng, rough, infancy=infancy),
        skin=skin,
        muscle=face.muscles(rng, grid, wall, thick, skin),
        globe=(eyes := face.eyes(rng, grid))[0],
        lens=eyes[1],
        table=face.head_holder(rng, grid),
    )


def vault(grid: pf.Grid, half_axes) -> np.ndarray:
    """The rounded vault alone, distance along the radius in head mm: wide at the back, a little boxy.

    Args:
      half_axes: (half width, front, back, height above `VAULT_CENTRE`) in mm.
    """
    wide, front, back, top = (np.float32(a) for a in half_axes)
    x, dy, up = grid.x, grid.y - np.float32(VAULT_CENTRE[1]), grid.z - np.float32(VAULT_CENTRE[2])
    t = dy / np.float32(80.0)
    half = wide * (1 + np.float32(0.10) * t - np.float32(0.06) * t * t)
    u = np.abs(x) / np.maximum(half, 20)
    v = np.abs(dy) / np.where(dy > 0, back, front)
    w = np.abs(up) / np.where(up > 0, top, np.float32(92.0))
    u, v, w = u * u, v * v, w * w
    square = u + v + w
    # A little boxier than an ellipsoid: along the diagonals the skull reaches 5 to 7 % further.
    boxy = 1 - np.float32(0.10) * (1 - (u * u + v * v + w * w) / np.maximum(square * square, np.float32(1e-6)))
    q = np.sqrt(square) * boxy
    return np.sqrt(x * x + dy * dy + up * up) * (1 - 1 / np.maximum(q, np.float32(0.05)))


def cavity(grid: pf.Grid, half_axes) -> np.ndarray:
    """The inside of the skull: the vault above the floor, and the canal of the spine."""
    inner = vault(grid, half_axes)
    base = grid.box((-200, -200, -400), (200, 200, 22))
    bx, by, bz = grid.at(base)
    inner[base] = pf.smooth_max(inner[base], (skull_floor(bx, by) - bz) * np.float32(0.75), 6.0)
    canal = grid.box((-25, 5, -400), (25, 60, -30))
    cx, cy, cz = grid.at(canal)
    behind = 27 + np.maximum(-cz - 45, 0) * np.float32(0.12)
    tunnel = np.sqrt(cx * cx + ((cy - behind) * np.float32(1.1)) ** 2)
    tunnel -= 10 + 5 * np.exp(-(((cz + 44) / 7) ** 2))
    inner[canal] = pf.smooth_min(inner[canal], np.maximum(tunnel, cz + 38).astype(np.float32), 6.0)
    return inner


def skull_floor(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the skull base over (x, y), mm, in the shape of the arguments."""
    ax = np.abs(x)
    front = 1 + 9 * np.exp(-(((ax - 28) / 13) ** 2)) - 5 * np.exp(-((x / 7) ** 2)) + 0.9 * np.maximum(y + 30, 0)
    middle = -27 + 13 * ((ax - 40) / 21) ** 2 + 13 * ((y + 12) / 26) ** 2
    hind = -45 + 26 * (x / 50) ** 2 + 27 * ((y - 40) / 40) ** 2
    sella = 1 + 0.05 * x * x + 0.10 * (y + 20) ** 2 - 7 * np.exp(-((x / 7) ** 2) - ((y + 18) / 5) ** 2)
    floor = np.minimum(np.minimum(front, middle), np.minimum(hind, sella))
    petrous = -1 - 0.06 * np.maximum(ax - 30, 0) - 1.5 * _line(ax, y, (12, 2), (66, 36))
    sphenoid = 6 + 0.12 * (ax - 20) - 1.6 * _line(ax, y, (10, -26), (60, -44))
    return np.maximum(floor, np.maximum(petrous, sphenoid)).astype(np.float32)


def _line(x, y, start, end) -> np.ndarray:
    """Distance in the plane to a segment."""
    ax, ay = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * ax + (y - start[1]) * ay) / (ax * ax + ay * ay), 0, 1)
    return np.hypot(x - start[0] - t * ax, y - start[1] - t * ay)


def to_distance(field: np.ndarray, grid: pf.Grid) -> np.ndarray:
    """Turns an implicit field into distance in scanner mm, negative inside, by dividing by its slope.

    Exact at the surface. Against a Euclidean distance transform, nine points in ten of the vault are within 10 %
    to a depth of 20 mm; at the base, where bowls meet, within a third: enough to draw with, and a tenth of the time.
    """
    dz, dy, dx = np.gradient(field, *grid.step_mm)
    slope = ndimage.uniform_filter(np.sqrt(dx * dx + dy * dy + dz * dz), 5)  # it jumps where surfaces meet
    return field / np.maximum(slope, np.float32(0.4))


def thickness(rng: np.random.Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Thickness of the vault in mm: about 6, thin at the temples, thick at forehead and occiput."""
    x, y, z = grid.x, grid.y, grid.z
    adult = 5.8 + rng.normal(0, 0.5) + 0.7 * pf.noise(rng, grid.shape, grid.step_mm, 22.0)
    adult -= 2.4 * np.exp(-(((np.abs(x) - 66) / 14) ** 2) - ((y + 15) / 30) ** 2 - ((z - 10) / 26) ** 2)
    adult += 5.5 * np.exp(-((x / 9) ** 2) - ((y - 86) / 14) ** 2 - ((z - 3) / 12) ** 2)  # occipital protuberance
    adult += 2.5 * np.exp(-((x / 12) ** 2) - ((y + 86) / 12) ** 2 - ((z - 12) / 25) ** 2)  # frontal crest
    adult += 1.0 * np.clip((-z - 5) / 20, 0, 1)
    roof = np.clip((16 - z) / 6, 0, 1) * np.clip((-34 - y) / 6, 0, 1) * np.clip((54 - np.abs(x)) / 6, 0, 1)
    below = np.exp(-(((np.abs(x) - 40) / 18) ** 2) - ((y + 14) / 22) ** 2 - ((z + 26) / 9) ** 2)
    roof = np.maximum(roof, 0.8 * below)
    adult += roof * (1.8 - adult)  # the roofs of the orbits and the floor below the temporal lobes are thin
    adult = np.clip(adult, 1.6, 15)
    infant = 1.9 + 0.2 * pf.noise(rng, grid.shape, grid.step_mm, 30.0)
    return (adult + np.float32(infancy) * (np.clip(infant, 1.3, 2.6) - adult)).astype(np.float32)


def sutures(rng: np.random.Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Distance from the sagittal, coronal and lambdoid sutures less their half-width (wide in a newborn)."""
    x, y, z = grid.x, grid.y, grid.z
    wander = 1.5 * pf.noise(rng, grid.shape, grid.step_mm, 5.0)
    coronal = np.abs(y + 8 + 0.25 * (90 - z) + wander)
    lambdoid = np.abs(y - 68 - 0.35 * (z - 40) + 0.25 * np.abs(x) + wander)
    lambdoid = np.where(z > 10, lambdoid, 30)
    sagittal = np.where((z > 40) & (y > -12), np.abs(x + wander), 30)
    field = np.minimum(np.minimum(np.where(z > 5, coronal, 30), lambdoid), sagittal)
    half = 0.35 + 1.6 * infancy
    if infancy > 0.3:  # the anterior fontanelle
        field = np.minimum(field, np.hypot(x, (y + 10) * 0.8) - 8 * infancy + np.where(z > 50, 0, 30))
    return (field - half).astype(np.float32)
