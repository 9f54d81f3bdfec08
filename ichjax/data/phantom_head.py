"""The phantom's skull, skin and face as signed fields on the coarse grid (mm, negative inside)."""

import dataclasses

import numpy as np
from scipy import ndimage

from ichjax.data import phantom_fields as pf

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
      table: the head holder and the table.
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


def make_head(rng: np.random.Generator, grid: pf.Grid, *, infancy: float) -> Head:
    """Builds skull, skin and face.

    Args:
      infancy: 1 for a newborn, 0 from about two years on: thin single-layered bone, no sinuses, open sutures.
    """
    wall = signed_distance(cavity(rng, grid), grid)
    thick = thickness(rng, grid, infancy=infancy)
    bone, dense = base_bones(grid, infancy=infancy)
    air = air_spaces(rng, grid, infancy=infancy)
    skin, muscle = soft_tissue(rng, grid, wall, thick)
    globe, lens = eyes(rng, grid)
    bone = np.maximum(bone, 1.2 - wall)  # never inside the cavity
    return Head(
        wall, thick, bone, dense, air, skin, muscle, globe, lens, head_holder(rng, grid)
    )


def cavity(rng: np.random.Generator, grid: pf.Grid) -> np.ndarray:
    """The inside of the skull: a rounded vault above the floor, and the canal of the spine."""
    x, y, z = grid.x, grid.y, grid.z
    wide, front, back = 67.0 + rng.normal(0, 1.5), 82.0 + rng.normal(0, 2), 84.0 + rng.normal(0, 2)
    dy = y - np.float32(VAULT_CENTRE[1])
    t = dy / np.float32(80.0)
    half = np.float32(wide) * (1 + np.float32(0.10) * t - np.float32(0.06) * t * t)
    up = z - np.float32(VAULT_CENTRE[2])
    high = np.where(up > 0, np.float32(72.0 + rng.normal(0, 2)), np.float32(92.0))
    u = np.abs(x) / np.maximum(half, 20)
    v = np.abs(dy) / np.where(dy > 0, np.float32(back), np.float32(front))
    w = np.abs(up) / high
    p = np.float32(2.35)
    q = np.power(u**p + v**p + np.power(w, np.float32(2.2)), 1 / p)
    reach = np.sqrt(x * x + dy * dy + up * up)
    vault = reach * (1 - 1 / np.maximum(q, np.float32(0.05)))
    floor = skull_floor(x, y) - z
    inner = pf.smooth_max(vault, floor * np.float32(0.75), 7.0)
    low = grid.box((-25, 5, -400), (25, 60, -30))
    lx, ly, lz = grid.at(low)
    behind = 27 + np.maximum(-lz - 45, 0) * np.float32(0.12)
    canal = np.sqrt(lx * lx + ((ly - behind) * np.float32(1.1)) ** 2) - (
        10 + 5 * np.exp(-(((lz + 44) / 7) ** 2))
    )
    canal = np.maximum(canal, lz + 38)
    inner[low] = pf.smooth_min(inner[low], canal.astype(np.float32), 6.0)
    return inner


def skull_floor(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the skull base over (x, y), mm, in the shape of the arguments."""
    ax = np.abs(x)
    front = 1 + 9 * np.exp(-(((ax - 28) / 13) ** 2)) - 5 * np.exp(-((x / 7) ** 2)) + 0.9 * np.maximum(y + 30, 0)
    middle = -25 + 13 * ((ax - 40) / 20) ** 2 + 13 * ((y + 12) / 24) ** 2
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


def signed_distance(field: np.ndarray, grid: pf.Grid) -> np.ndarray:
    """Turns an implicit field into distance in mm, negative inside: near its surface the field over its
    gradient (sharper than the grid), farther off a Euclidean distance transform."""
    within = field < 0
    step = grid.step_mm
    far = ndimage.distance_transform_edt(~within, sampling=step).astype(np.float32)
    far -= ndimage.distance_transform_edt(within, sampling=step).astype(np.float32)
    far = ndimage.gaussian_filter(far, 0.7, truncate=2.0)
    dz, dy, dx = np.gradient(field, *step)
    near = field / np.maximum(np.sqrt(dx * dx + dy * dy + dz * dz), np.float32(0.3))
    weight = np.clip((6 - np.abs(far)) / np.float32(3), 0, 1)
    return (far + weight * (np.clip(near, far - 2, far + 2) - far)).astype(np.float32)


def thickness(rng: np.random.Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Thickness of the vault in mm: about 6, thin at the temples, thick at forehead and occiput."""
    x, y, z = grid.x, grid.y, grid.z
    adult = 5.8 + rng.normal(0, 0.5) + 0.7 * pf.noise(rng, grid.shape, grid.step_mm, 22.0)
    adult -= 2.4 * np.exp(-(((np.abs(x) - 66) / 14) ** 2) - ((y + 15) / 30) ** 2 - ((z - 10) / 26) ** 2)
    adult += 5.5 * np.exp(-((x / 9) ** 2) - ((y - 86) / 14) ** 2 - ((z - 3) / 12) ** 2)  # occipital protuberance
    adult += 2.5 * np.exp(-((x / 12) ** 2) - ((y + 86) / 12) ** 2 - ((z - 12) / 25) ** 2)  # frontal crest
    adult += 1.5 * np.clip((-z - 5) / 20, 0, 1)
    adult = np.clip(adult, 2.6, 15)
    infant = 1.9 + 0.2 * pf.noise(rng, grid.shape, grid.step_mm, 30.0)
    return (adult + np.float32(infancy) * (np.clip(infant, 1.3, 2.6) - adult)).astype(np.float32)


def base_bones(grid: pf.Grid, *, infancy: float) -> tuple[np.ndarray, np.ndarray]:
    """(bone, dense): petrous pyramids, sphenoid, orbits, cheeks, jaws and the first vertebrae; petrous cores."""
    bone, dense = grid.empty(), grid.empty()
    for side in (-1, 1):
        s = np.array([side, 1, 1])
        pf.add_tube(bone, grid, [s * (13, 2, -16), s * (36, 15, -12), s * (60, 30, -10)], [8, 9, 12], fillet=3)
        pf.add_tube(dense, grid, [s * (24, 10, -9), s * (42, 19, -8)], [4, 5])
        pf.add_ellipsoid(bone, grid, s * (62, 30, -22), (11, 16, 22), fillet=4)  # mastoid
        pf.add_tube(bone, grid, [s * (12, -26, 3), s * (34, -36, 5), s * (56, -42, 8)], [3.5, 3, 5], fillet=2)
        # The orbit's lateral wall and rims, the cheek bone and its arch.
        pf.add_tube(bone, grid, [s * (28, -36, -12), s * (50, -62, -12)], [2.4, 4.0], flat=0.14)
        pf.add_tube(bone, grid, [s * (50, -62, -8), s * (48, -64, -34), s * (30, -74, -40)], [4, 5, 4], fillet=2)
        pf.add_tube(bone, grid, [s * (52, -62, -28), s * (67, -36, -30), s * (66, -8, -26)], [3.5, 2.2, 4])
        pf.add_tube(bone, grid, [s * (52, -64, 4), s * (34, -82, 10), s * (8, -86, 6)], [3.5, 3.5, 4], fillet=2)
        pf.add_tube(bone, grid, [s * (14, -80, -5), s * (16, -74, -34)], [1.6, 2.0])
        # Jaw: condyle, branch and body; the upper jaw's teeth.
        pf.add_tube(bone, grid, [s * (54, -4, -30), s * (50, -6, -60), s * (46, -10, -88)], [5, 3.6, 5], fillet=2)
        pf.add_tube(bone, grid, [s * (46, -10, -90), s * (30, -55, -100), s * (6, -76, -102)], [5, 6, 6])
        pf.add_tube(bone, grid, [s * (24, -38, -66), s * (18, -66, -68), s * (4, -78, -68)], [4.5, 4.5, 4.5])
        pf.add_tube(bone, grid, [s * (20, -32, -22), s * (18, -34, -60)], [1.8, 1.5])  # pterygoid plates
        pf.add_tube(bone, grid, [s * (17, 20, -62), s * (36, 22, -64)], [7, 4], fillet=2)  # atlas
    pf.add_ellipsoid(bone, grid, (0, -22, -14), (17, 15, 13), fillet=3)  # sphenoid body
    pf.add_tube(bone, grid, [(0, -6, -4), (0, 10, -34)], [6, 5], flat=0.8, fillet=2)  # clivus
    ring = grid.box((-40, -12, -400), (40, 70, -50))
    x, y, z = grid.at(ring)
    behind = 27 + np.maximum(-z - 45, 0) * np.float32(0.12)
    around = np.abs(np.sqrt((x * 0.9) ** 2 + ((y - behind) * np.float32(1.05)) ** 2) - 16) - 3
    levels = 5 - np.abs(np.mod(-z - 50, 16) - 8)  # a vertebra every 16 mm
    body = pf.ellipsoid(x, y, z * 0, (0, 4, 0), (13, 8, 20))
    bone[ring] = np.minimum(bone[ring], np.maximum(np.minimum(around, body), levels - 4).astype(np.float32))
    if infancy > 0.5:
        bone += np.float32(1.0)
    return bone, dense


def air_spaces(rng: np.random.Generator, grid: pf.Grid, *, infancy: float) -> np.ndarray:
    """Nose, sinuses, throat, ear canals, and cells of the ethmoid and mastoid bones."""
    air = grid.empty()
    size = 1.0 - 0.6 * infancy
    pf.add_ellipsoid(air, grid, (rng.normal(0, 2), -24, -12), (11 * size, 10 * size, 8 * size), fillet=1)
    for side in (-1, 1):
        s = np.array([side, 1, 1])
        pf.add_ellipsoid(air, grid, s * (29, -58, -46), np.array([14, 15, 17]) * size)  # maxillary
        pf.add_ellipsoid(air, grid, s * (9, -85, 6), np.array([9, 3.5, 9 + rng.normal(0, 2)]) * size * size)
        pf.add_ellipsoid(air, grid, s * (6, -62, -44), (5, 30, 20))  # nose
        pf.add_tube(air, grid, [s * (88, 4, -24), s * (54, 8, -20)], [4, 2.5])  # ear canal
    pf.add_tube(air, grid, [(0, -22, -42), (0, -14, -80), (0, -16, -400)], [8, 7, 8], fillet=3)  # throat
    nose = grid.box((-22, -100, -75), (22, -25, -15))
    shelf = np.abs(pf.noise(rng, grid.shape, grid.step_mm, 6.0)[nose]) * np.float32(3.5) - np.float32(1.3)
    septum = np.abs(grid.x[nose]) - np.float32(1.6)
    air[nose] = np.maximum(air[nose], -np.minimum(shelf, septum))
    cells = 3.2 * pf.noise(rng, grid.shape, grid.step_mm, 3.6)
    ethmoid = grid.box((-16, -84, -30), (16, -30, 4))
    x, y, z = grid.at(ethmoid)
    room = np.maximum(np.maximum(np.abs(x) - 12, np.abs(y + 56) - 24), np.abs(z + 14) - 13).astype(np.float32)
    air[ethmoid] = np.minimum(air[ethmoid], np.maximum(room, np.abs(cells[ethmoid]) * -0.9 + 0.8))
    if infancy < 0.5:
        for side in (-1, 1):
            low, high = sorted((side * 44, side * 76))
            box = grid.box((low, 8, -46), (high, 48, 2))
            x, y, z = grid.at(box)
            room = pf.ellipsoid(x, y, z, (side * 60, 28, -20), (10, 14, 20))
            air[box] = np.minimum(air[box], np.maximum(room, 1.4 - np.abs(cells[box]) * 0.9))
    return air


def soft_tissue(rng: np.random.Generator, grid: pf.Grid, wall, thick) -> tuple[np.ndarray, np.ndarray]:
    """(skin, muscle): the scalp over the vault, temples, face and neck."""
    x, y, z = grid.x, grid.y, grid.z
    ax = np.abs(x)
    scalp = 5.0 + rng.normal(0, 0.6) + 0.6 * pf.noise(rng, grid.shape, grid.step_mm, 30.0)
    scalp += 9.0 * np.exp(-(((ax - 66) / 18) ** 2) - ((y + 34) / 20) ** 2 - ((z - 2) / 28) ** 2)
    scalp += 6.0 * np.clip((4 - z) / 30, 0, 1) * np.clip((y - 20) / 30, 0, 1)
    skin = wall - thick - scalp
    face = pf.ellipsoid(x, y, z, (0, -24, -62), (68, 70, 74))
    cheeks = pf.ellipsoid(x, y, z, (0, -32, -34), (69, 60, 50))
    neck = np.sqrt((x / 62) ** 2 + ((y - 18) / 58) ** 2) * 60 - 60
    neck = np.maximum(neck, (z + 22) * np.float32(0.7)).astype(np.float32)
    skin = pf.smooth_min(skin, pf.smooth_min(face, cheeks, 8.0), 10.0)
    skin = pf.smooth_min(skin, neck, 10.0)
    pf.add_tube(skin, grid, [(0, -88, -8), (0, -106, -38), (0, -96, -44)], [6, 9, 12], fillet=6)
    for side in (-1, 1):
        s = np.array([side, 1, 1])
        pf.add_tube(skin, grid, [s * (76, 6, -34), s * (82, 14, -12), s * (80, 12, 4)], [3, 2.6, 2], fillet=3)
    texture = pf.noise(rng, grid.shape, grid.step_mm, 5.0)
    broad = pf.noise(rng, grid.shape, grid.step_mm, 14.0)
    temple = np.maximum(pf.ellipsoid(x, y, z, (0, -24, -4), (90, 34, 44)), 52 - ax)
    temple = np.maximum(temple, np.maximum(skin + 5, 0.5 - wall + thick))
    nape = np.maximum(8 - 3.5 * np.abs(texture) - broad * 2 - np.clip(-z - 14, 0, 10), skin + 6)
    nape = np.maximum(nape, -4 - y)
    jaw = np.maximum(3.2 - 3 * np.abs(broad) - texture, np.maximum(skin + 9, z + 32))
    return skin, np.minimum(np.minimum(temple, nape), jaw).astype(np.float32)


def eyes(rng: np.random.Generator, grid: pf.Grid) -> tuple[np.ndarray, np.ndarray]:
    """(globe, lens) of both eyes; the muscles and nerve of an orbit are drawn as thin bright tubes of `globe`'s
    wall elsewhere."""
    globe, lens = grid.empty(), grid.empty()
    for side in (-1, 1):
        centre = np.array([side * 31.0, -71.0, -13.0 + rng.normal(0, 0.7)])
        pf.add_ellipsoid(globe, grid, centre, (12.3, 12.3, 12.0))
        pf.add_ellipsoid(lens, grid, centre + np.array([0, -8.6, 0]), (4.6, 2.2, 4.6))
    return globe, lens


def head_holder(rng: np.random.Generator, grid: pf.Grid) -> np.ndarray:
    """A shell around the back of the head; fixed in the scanner, so it ignores the head's rotation."""
    side = (np.arange(pf.COARSE) + 0.5 - pf.COARSE / 2) * grid.pixel_mm
    row, column = side[:, None], side[None, :]
    ring = np.sqrt((column / 0.93) ** 2 + ((row + 6) / 1.08) ** 2)
    shell = np.abs(ring - 103 + rng.normal(0, 1.0)) - 0.9
    shell = np.maximum(shell, 12 - row)
    return np.broadcast_to(shell.astype(np.float32), grid.shape)


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
