"""Converts signed fields to HU, averaged over each slice's thickness, before the scanner's physics."""

import dataclasses

import numpy as np

from ichjax.phantom import fields as pf
from ichjax.phantom import lesions as pl
from ichjax.phantom.brain import Brain
from ichjax.phantom.head import Head

AIR, SKIN, FAT, ENAMEL = -1000.0, 54.0, -95.0, 2200.0
CSF = 6.0
DURA = 56.0  # also the blood in the venous sinuses
METAL = 9000.0
HOLDER = 240.0
FINE = 256  # side of the grid on which tissue is composed, pixels
EDGE_MM = 0.9  # width of an edge between tissues


@dataclasses.dataclass(frozen=True, eq=False)
class Tissue:
    """HU that differ between subjects, and infancy: 1 for a newborn, 0 from two years on."""

    white: float
    gray: float
    table: float  # compact bone
    diploe: float
    mucosa: float  # and fluid of the paranasal sinuses
    infancy: float


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """Everything in one subject, as signed fields on the coarse grid unless noted.

    Attributes:
      texture, broad: noise of unit variance with knots every 3.4 and 12 mm.
      back: how far back a point lies, in units of 60 mm.
      suture: sutures of the vault, open or closed.
      crack, swelling, infarct, metal: fracture, blood under the scalp, old infarct and metal clip, or None.
      face: weight in [0, 1] of the de-identification, which blurs the face and adds noise to it.
    """

    head: Head
    brain: Brain
    lesions: tuple[pl.Lesion, ...]
    tissue: Tissue
    texture: np.ndarray
    broad: np.ndarray
    back: np.ndarray
    suture: np.ndarray
    face: np.ndarray
    crack: np.ndarray | None = None
    swelling: np.ndarray | None = None
    infarct: np.ndarray | None = None
    metal: np.ndarray | None = None


class _SliceView:
    """Access to a scene's fields on one slice, in the box `part` of the coarse grid that contains the head there."""

    def __init__(self, scene: Scene, part: pf.Box) -> None:
        self.part = part
        self.wall, self.texture, self.broad = map(self.fine, (scene.head.wall, scene.texture, scene.broad))

    def fine(self, field: np.ndarray) -> np.ndarray:
        """A field in this part, upsampled: float32 [3, h, w]."""
        return pf.upsample(field[self.part], FINE // pf.COARSE)

    def near(self, field: np.ndarray, mm: float = 1.0) -> bool:
        """Whether any point of this part is within `mm` of a structure."""
        return float(field[self.part].min()) < mm

    def occupancy(self, field: np.ndarray | None, edge_mm: float = EDGE_MM) -> np.ndarray | None:
        """Occupancy by a structure, float32 [3, h, w] in [0, 1]; None if the structure is absent or not near."""
        return None if field is None or not self.near(field) else pf.inside(self.fine(field), edge_mm)


def background(scene: Scene) -> np.ndarray:
    """Air and the head holder, float32 [256, 256] HU."""
    hu = np.full((FINE, FINE), AIR, np.float32)
    _paint(hu, pf.inside(pf.upsample(scene.head.table, FINE // pf.COARSE), EDGE_MM), HOLDER)
    return hu


def draw_slice(scene: Scene, k: int, hu: np.ndarray) -> dict[int, np.ndarray]:
    """Draws slice `k`, before the scanner's physics, onto the background `hu`, float32 [256, 256], in place.

    Returns:
      {index into `scene.lesions`: occupancy of each pixel, float32 [256, 256] in [0, 1]} of the lesions on this slice.
    """
    part = _box_around_head(scene, k)
    if part is None:
        return {}
    view = _SliceView(scene, part)
    factor = FINE // pf.COARSE
    box = tuple(slice(factor * axis.start, factor * axis.stop) for axis in part[1:])
    layers = np.repeat(hu[box][np.newaxis], pf.SUB, axis=0)
    _draw_extracranial(layers, scene, view)
    occupancy: dict[int, np.ndarray] = {}
    if float(view.wall.min()) < 0:
        within = pf.inside(view.wall, EDGE_MM)
        brain, shares = _draw_brain(scene, view)
        layers += within * (brain - layers)
        for i, share in shares.items():
            occupancy[i] = np.zeros_like(hu)
            occupancy[i][box] = (share * within).mean(axis=0)
    hu[box] = layers.mean(axis=0)
    return occupancy


def _box_around_head(scene: Scene, k: int) -> pf.Box | None:
    """Index ranges of slice `k` and of the head on it, on the coarse grid; None above the head."""
    subs = slice(k * pf.SUB, (k + 1) * pf.SUB)
    near = (scene.head.skin[subs].min(axis=0) < 4) | (scene.head.wall[subs].min(axis=0) < 9)
    if not near.any():
        return None
    hits = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(int(hit[0]) - 2, 0), min(int(hit[-1]) + 3, pf.COARSE)) for hit in hits)
    return subs, rows, columns


def _paint(hu: np.ndarray, share: np.ndarray | None, value: float | np.ndarray) -> None:
    """Blends `value` into `hu` by its share of each point, in place; None changes nothing."""
    if share is not None:
        hu += share * (value - hu)


def _draw_extracranial(hu: np.ndarray, scene: Scene, view: _SliceView) -> None:
    """Draws scalp, muscle, eyes, bone and air onto `hu`, float32 [3, h, w], in place."""
    head, tissue, texture, broad = scene.head, scene.tissue, view.texture, view.broad
    skin = view.fine(head.skin)
    hidden = view.fine(scene.face) if float(scene.face[view.part].max()) > 0.01 else None
    flesh = pf.inside(skin, EDGE_MM) if hidden is None else np.clip(0.5 - skin / (EDGE_MM + 7 * hidden), 0, 1)
    _paint(hu, flesh, FAT + 12 * broad)
    _paint(hu, flesh * pf.inside(-2.6 - skin, 1.0), SKIN)
    meat = view.fine(head.muscle_hu) + 8 * texture + 7 * broad
    _paint(hu, flesh * pf.inside(view.fine(head.muscle), EDGE_MM), meat)
    _paint(hu, view.occupancy(scene.swelling, 2.0), 60 + 6 * texture)
    if view.near(head.globe):
        globe = view.fine(head.globe)
        _paint(hu, pf.inside(globe - 1.0, EDGE_MM), 45.0)
        _paint(hu, pf.inside(globe + 0.6, EDGE_MM), 12.0)
        _paint(hu, pf.inside(view.fine(head.lens), EDGE_MM), 80.0)
    if hidden is not None:
        hu += hidden * flesh * (90 * texture - 0.3 * (hu - SKIN))
    _draw_vault(hu, scene, view)
    bone = view.fine(head.bone)
    spongy = np.clip((-bone - 1.2) / 1.5, 0, 1)
    value = tissue.table * 0.82 - spongy * (tissue.table * 0.82 - tissue.diploe * 0.75 - 130 * texture)
    _paint(hu, pf.inside(bone, EDGE_MM) * flesh, value)
    _paint(hu, view.occupancy(head.dense, 2.0), tissue.table * 1.12)
    _paint(hu, view.occupancy(head.teeth), ENAMEL)
    if (lining := view.occupancy(head.mucosa)) is not None:
        _paint(hu, lining * flesh, tissue.mucosa + 5 * broad)
    if (air := view.occupancy(head.air)) is not None:
        _paint(hu, air * pf.inside(1.5 - view.wall, 1.0), AIR)
    _paint(hu, view.occupancy(scene.metal), METAL)


def _draw_vault(hu: np.ndarray, scene: Scene, view: _SliceView) -> None:
    """Draws outer table, diploe, inner table, sutures and fractures onto `hu`, in place."""
    tissue, wall = scene.tissue, view.wall
    thickness = view.fine(scene.head.thickness)
    depth = wall / np.maximum(thickness, np.float32(0.5))
    compact = np.maximum(1 - depth / 0.34, (depth - 0.66) / 0.34)
    compact = np.maximum(np.clip(compact * 3.0, 0, 1), tissue.infancy)
    value = tissue.diploe + 140 * view.texture + compact * (tissue.table - tissue.diploe - 140 * view.texture)
    share = pf.inside(wall - thickness, EDGE_MM)
    suture = pf.inside(view.fine(scene.suture), EDGE_MM)
    if tissue.infancy > 0.3:
        share = share * (1 - suture)
    else:
        value = value * (1 - 0.35 * suture)
    if (crack := view.occupancy(scene.crack)) is not None:
        share = share * (1 - 0.9 * crack)
    _paint(hu, share, value)


def _draw_brain(scene: Scene, view: _SliceView) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Brain tissue, CSF, dura, blood and calcifications.

    Returns:
      (HU, float32 [3, h, w]; {index into `scene.lesions`: occupancy, float32 [3, h, w]} of the lesions that are near).
    """
    brain = scene.brain
    sulcus, width, cistern = map(view.fine, (brain.sulcus, brain.sulcus_width, brain.cistern))
    clot: float | np.ndarray = 0.0  # where subarachnoid blood replaces CSF
    for lesion in scene.lesions:
        if lesion.subtype == pl.SAH and view.near(lesion.field):
            clot = pf.inside(view.fine(lesion.field), 4.0)
            width, cistern = pl.with_clot(width, cistern, clot)
    to_surface = np.minimum(sulcus - np.maximum(width, 0), np.minimum(cistern, -view.wall))
    hu = _draw_parenchyma(scene, view, to_surface, width)
    fluid = pl.fluid_share(sulcus, width, cistern, EDGE_MM)
    _paint(hu, fluid, CSF + 2)
    for field, value in ((brain.ventricle, CSF), (brain.falx, DURA), (brain.sinus, DURA)):
        _paint(hu, pf.inside(view.fine(field), EDGE_MM), value)
    shares = {}
    for i, lesion in enumerate(scene.lesions):
        share = view.occupancy(lesion.field)
        if share is None:
            continue
        shares[i] = fluid * clot if lesion.subtype == pl.SAH else share
        pocket = np.clip(view.broad * 1.5 - 1.0, 0, 1)
        blood = lesion.hu + 3 * view.broad + pocket * lesion.swirl_hu
        if lesion.settled_hu:
            blood = blood + lesion.settled_hu * view.fine(scene.back)
        _paint(hu, shares[i], blood)
    if view.near(brain.calcified):
        calcified = view.fine(brain.calcified)
        _paint(hu, pf.inside(calcified, EDGE_MM), 190 - 60 * np.maximum(calcified, -2))
    return hu, shares


def _draw_parenchyma(scene: Scene, view: _SliceView, to_surface: np.ndarray, sulcus_width: np.ndarray) -> np.ndarray:
    """White and gray matter, old infarct and edema, float32 [3, h, w] HU; `to_surface` is the depth below CSF, mm."""
    brain, tissue = scene.brain, scene.tissue
    cortex = np.clip((3.4 - to_surface) / 1.4, 0, 1)
    cortex *= np.clip(sulcus_width * 4 + 1.2, 0, 1) * 0.9 + 0.1
    cortex = np.maximum(cortex, pf.inside(view.fine(brain.deep), 2.0))
    cerebellum = pf.inside(view.fine(brain.cerebellum), 2.0)
    cortex += cerebellum * (0.55 + 0.2 * view.texture + 0.5 * view.fine(brain.folia) - cortex)
    hu = tissue.white + cortex * (tissue.gray - tissue.white) + 0.7 * view.broad
    _paint(hu, view.occupancy(scene.infarct, 3.0), 18.0)
    edema = [
        np.clip(1 - np.maximum(view.fine(lesion.field), 0) / lesion.edema_mm, 0, 1) * lesion.edema_hu
        for lesion in scene.lesions
        if lesion.edema_mm and view.near(lesion.field, lesion.edema_mm)
    ]
    if edema:
        hu -= np.maximum.reduce(edema) * (1 - 0.5 * cortex)
    return hu
