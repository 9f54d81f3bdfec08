"""From fields to HU: what fills every point of a slice, averaged over the slice's thickness."""

import dataclasses

import numpy as np

from ichjax.phantom import fields as pf
from ichjax.phantom import lesions as pl
from ichjax.phantom.brain import Brain
from ichjax.phantom.head import Head

AIR, SKIN, FAT, MUSCLE = -1000.0, 54.0, -95.0, 56.0
CSF = 6.0
METAL = 9000.0
HOLDER = 240.0
FINE = 256  # pixels along a slice while tissue is composed
EDGE_MM = 0.9  # width of an edge between tissues as drawn


@dataclasses.dataclass(frozen=True, eq=False)
class Tissue:
    """HU and other numbers that differ between subjects."""

    white: float
    gray: float
    table: float  # compact bone
    diploe: float
    infancy: float


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """All fields of one subject, on the coarse grid.

    Attributes:
      texture, broad: noise fields of unit variance, 3.4 and 12 mm.
      back: how far back a point lies, in units of 60 mm.
      suture: of the open or closed sutures.
      crack: of a fracture; swelling: blood under the scalp; infarct: an old one; metal: a clip; each None where
        there is none.
      face: weight in [0, 1] of the de-identification, which blurs faces and adds noise to them.
    """

    head: Head
    brain: Brain
    lesions: tuple[pl.Lesion, ...]
    tissue: Tissue
    texture: np.ndarray
    broad: np.ndarray
    back: np.ndarray
    suture: np.ndarray
    crack: np.ndarray | None = None
    swelling: np.ndarray | None = None
    infarct: np.ndarray | None = None
    metal: np.ndarray | None = None
    face: np.ndarray | None = None


def background(scene: Scene) -> np.ndarray:
    """Air and the head holder, float32 [256, 256] HU."""
    hu = np.full((FINE, FINE), AIR, np.float32)
    _paint(hu, pf.inside(pf.upsample(scene.head.table, FINE // pf.COARSE), EDGE_MM), np.float32(HOLDER))
    return hu


def draw_slice(scene: Scene, k: int, hu: np.ndarray) -> dict[int, np.ndarray]:
    """Draws slice `k`, before the scanner's physics, onto the background `hu`, float32 [256, 256], in place.

    Returns:
      for every lesion that is on this slice (by its place in `scene.lesions`) its occupancy of each pixel,
      float32 [256, 256] in [0, 1].
    """
    part = _around_head(scene, k)
    if part is None:
        return {}
    factor = FINE // pf.COARSE

    def fine(field: np.ndarray) -> np.ndarray:
        return pf.upsample(field[part], factor)

    window = tuple(slice(factor * axis.start, factor * axis.stop) for axis in part[1:])
    wall = fine(scene.head.wall)
    texture, broad = fine(scene.texture), fine(scene.broad)
    layers = np.repeat(hu[window][np.newaxis], pf.SUB, axis=0)
    _outside(layers, scene, fine, part, wall, texture, broad)
    found: dict[int, np.ndarray] = {}
    if float(wall.min()) < 0:
        within = pf.inside(wall, EDGE_MM)
        brain, shares = _inside(scene, fine, part, wall, texture, broad)
        layers += within * (brain - layers)
        for i, share in shares.items():
            found[i] = np.zeros_like(hu)
            found[i][window] = (share * within).mean(axis=0)
    hu[window] = layers.mean(axis=0)
    return found


def _around_head(scene: Scene, k: int) -> tuple[slice, slice, slice] | None:
    """Indices of the sub-slices of slice `k` and of the box that holds the head there; None above the head."""
    subs = slice(k * pf.SUB, (k + 1) * pf.SUB)
    near = (scene.head.skin[subs].min(axis=0) < 4) | (scene.head.wall[subs].min(axis=0) < 9)
    if not near.any():
        return None
    spans = []
    for axis in (0, 1):
        hit = np.flatnonzero(near.any(axis=1 - axis))
        spans.append(slice(max(int(hit[0]) - 2, 0), min(int(hit[-1]) + 3, pf.COARSE)))
    return (subs, *spans)


def _paint(hu: np.ndarray, share: np.ndarray, value) -> None:
    hu += share * (value - hu)


def _outside(hu, scene: Scene, fine, part, wall, texture, broad) -> None:
    """Paints everything but the brain: scalp, muscle, bone, face."""
    head, tissue = scene.head, scene.tissue
    skin = fine(head.skin)
    edge = EDGE_MM
    hidden = fine(scene.face) if float(scene.face[part].max()) > 0.01 else None
    flesh = pf.inside(skin, edge) if hidden is None else np.clip(0.5 - skin / (edge + 7 * hidden), 0, 1)
    fat = np.float32(FAT) + 12 * broad
    _paint(hu, flesh, fat)
    _paint(hu, flesh * pf.inside(-2.6 - skin, 1.0), np.float32(SKIN))
    _paint(hu, flesh * pf.inside(fine(head.muscle), 1.5 * edge), MUSCLE - 3 + 10 * texture + 5 * broad)
    if scene.swelling is not None and float(scene.swelling[part].min()) < 1:
        _paint(hu, pf.inside(fine(scene.swelling), 2.0), 60 + 6 * texture)
    if float(head.globe[part].min()) < 1:
        globe = fine(head.globe)
        _paint(hu, pf.inside(globe - 1.0, edge), np.float32(45.0))
        _paint(hu, pf.inside(globe + 0.6, edge), np.float32(12.0))
        _paint(hu, pf.inside(fine(head.lens), edge), np.float32(80.0))
    if hidden is not None:
        hu += hidden * flesh * (90 * texture - 0.3 * (hu - SKIN))
    thick = fine(head.thickness)
    _shell(hu, scene, fine, part, wall, thick, texture)
    bone = fine(head.bone)
    spongy = np.clip((-bone - 1.2) / 1.5, 0, 1)
    value = tissue.table * 0.82 - spongy * (tissue.table * 0.82 - tissue.diploe * 0.75 - 130 * texture)
    _paint(hu, pf.inside(bone, edge) * flesh, value)
    if float(head.dense[part].min()) < 1:
        _paint(hu, pf.inside(fine(head.dense), 2.0), np.float32(tissue.table * 1.12))
    if float(head.air[part].min()) < 1:
        _paint(hu, pf.inside(fine(head.air), edge) * pf.inside(1.5 - wall, 1.0), np.float32(AIR))
    if scene.metal is not None and float(scene.metal[part].min()) < 1:
        _paint(hu, pf.inside(fine(scene.metal), edge), np.float32(METAL))


def _shell(hu, scene: Scene, fine, part, wall, thick, texture) -> None:
    """The vault: outer table, diploe, inner table, sutures and fractures."""
    tissue, edge = scene.tissue, EDGE_MM
    across = wall / thick
    compact = np.maximum(1 - across / 0.34, (across - 0.66) / 0.34)
    compact = np.clip(compact * 3.0, 0, 1)
    compact = np.maximum(compact, tissue.infancy)
    value = tissue.diploe + 140 * texture + compact * (tissue.table - tissue.diploe - 140 * texture)
    share = pf.inside(wall - thick, edge)
    gap = fine(scene.suture)
    if tissue.infancy > 0.3:
        share = share * (1 - pf.inside(gap, edge))
    else:
        value = value * (1 - 0.35 * pf.inside(gap, edge))
    if scene.crack is not None and float(scene.crack[part].min()) < 1:
        share = share * (1 - 0.9 * pf.inside(fine(scene.crack), edge))
    _paint(hu, share, value)


def _inside(scene: Scene, fine, part, wall, texture, broad):
    """The brain: white and gray matter, fluid, dura, calcifications, blood."""
    brain, tissue, edge = scene.brain, scene.tissue, EDGE_MM
    sulcus, width = fine(brain.sulcus), fine(brain.sulcus_width)
    cistern = fine(brain.cistern)
    ventricle = fine(brain.ventricle)
    clot = None
    for lesion in scene.lesions:
        if lesion.subtype == pl.SAH and float(lesion.field[part].min()) < 1:
            clot = pf.inside(fine(lesion.field), 4.0)
            width = width + clot * np.where(width > -0.4, np.float32(0.9), 0)  # blood widens a sulcus
            cistern = cistern - clot
    ribbon = np.minimum(sulcus - np.maximum(width, 0), np.minimum(cistern, -wall))
    cortex = np.clip((3.4 - ribbon) / 1.4, 0, 1)
    cortex *= np.clip(width * 4 + 1.2, 0, 1) * 0.9 + 0.1
    cortex = np.maximum(cortex, pf.inside(fine(brain.deep), 2.0))
    cerebellum = pf.inside(fine(brain.cerebellum), 2.0)
    cortex += cerebellum * (0.55 + 0.2 * texture + 0.5 * fine(brain.folia) - cortex)
    hu = tissue.white + cortex * (tissue.gray - tissue.white) + 0.7 * broad
    if scene.infarct is not None and float(scene.infarct[part].min()) < 1:
        _paint(hu, pf.inside(fine(scene.infarct), 3.0), np.float32(18.0))
    edema = None
    for lesion in scene.lesions:
        if lesion.edema_mm and float(lesion.field[part].min()) < lesion.edema_mm:
            rim = np.clip(1 - np.maximum(fine(lesion.field), 0) / lesion.edema_mm, 0, 1)
            edema = rim * lesion.edema_hu if edema is None else np.maximum(edema, rim * lesion.edema_hu)
    if edema is not None:
        hu -= edema * (1 - 0.5 * cortex)
    fluid = np.maximum(pf.inside(sulcus - width, edge) * (width > 0), pf.inside(cistern, edge))
    _paint(hu, fluid, np.float32(CSF + 2))
    _paint(hu, pf.inside(ventricle, edge), np.float32(CSF))
    _paint(hu, pf.inside(fine(brain.falx), edge), np.float32(56.0))
    _paint(hu, pf.inside(fine(brain.sinus), edge), np.float32(56.0))
    shares = {}
    for i, lesion in enumerate(scene.lesions):
        if float(lesion.field[part].min()) > 1:
            continue
        if lesion.subtype == pl.SAH:
            share = fluid * clot
        else:
            share = pf.inside(fine(lesion.field), edge)
        pocket = np.clip(broad * 1.5 - 1.0, 0, 1)
        blood = lesion.hu + 3 * broad + pocket * (lesion.swirl_hu - lesion.hu)
        if lesion.settled_hu:
            blood = blood + lesion.settled_hu * fine(scene.back)
        _paint(hu, share, blood)
        shares[i] = share
    if float(brain.calcified[part].min()) < 1:
        _paint(hu, pf.inside(brain_dots := fine(brain.calcified), edge), 190 - 60 * np.maximum(brain_dots, -2))
    return hu, shares
