"""Phantom soft tissue of the face: muscles of mastication, tongue, palate, cheeks, nose and lips."""

import numpy as np

from ichjax.phantom.soft_tissue import MIDLINE, SoftTissue


def add_mouth(tissue: SoftTissue, jaw: np.ndarray) -> None:
    """Adds the muscles of mastication and the soft tissue of mouth and face.

    Args:
      jaw: displacement of the mandible, see `facial_bones.add_mandible`.
    """
    half = 0.5 * jaw

    def at(x: float, y: float, z: float, moved_by: np.ndarray) -> np.ndarray:
        return np.array([x, y, z]) + moved_by

    tissue.column(
        [(62, -32, -32), at(58, -24, -62, half), at(54, -20, -88, jaw)], [(4, 12), (6.5, 16), (4, 11)], yaw_deg=8
    )
    tissue.column([(57, -32, 6), (54, -33, -18), at(50, -30, -50, half)], [(7, 24), (8, 18), (3.5, 9)], yaw_deg=8)
    tissue.tube([(24, -34, -38), (36, -20, -36), (48, -8, -34)], [8, 8.5, 4.5], flat=0.85)  # lateral pterygoid
    tissue.tube([(20, -30, -44), at(30, -22, -64, half), at(42, -12, -84, jaw)], [5, 7.5, 5.5])  # medial pterygoid
    tissue.tube([(13, -24, -40), (14, -26, -54)], [3, 3.5])  # muscles of the soft palate
    tissue.ellipsoid((0, -30, -60), (13, 13, 4.5), sides=MIDLINE)
    tissue.ellipsoid((15, -17, -72), (4.5, 7, 10), hu=tissue.rng.uniform(40, 60))  # tonsils
    tongue = tissue.muscle_hu - tissue.rng.uniform(0, 12)
    tissue.ellipsoid(at(9.5, -46, -78, half), (9.5, 29, 15), hu=tongue)
    tissue.ellipsoid(at(8, -48, -98, jaw), (7, 26, 8))  # geniohyoid and genioglossus
    tissue.column([at(24, -40, -92, jaw), at(10, -44, -108, jaw)], [(2.5, 20), (9, 24)])  # mylohyoid
    tissue.tube([(40, -34, -60), (34, -60, -66), (20, -80, -72)], [2.2, 2.0, 3], flat=0.25)  # buccinator
    tissue.tube([(50, -66, -40), (30, -82, -66)], [1.8, 1.8])  # zygomatic muscles
    tissue.tube([(12, -84, -20), (22, -84, -52)], [1.6, 2.2])  # levators of the lip
    tissue.tube([(44, -72, -14), (30, -88, -14), (16, -86, -12)], [1.4, 1.4, 1.4], flat=0.12)  # eyelids
    tissue.tube([(0, -90, -12), (0, -99, -36), (0, -94, -46)], [3, 6, 9], sides=MIDLINE)  # nose
    lip = np.array([(-22, -84, 0), (-8, -92, 0), (8, -92, 0), (22, -84, 0)])
    for z, moved_by in ((-70, 0 * jaw), (-80, half), (-101, jaw)):  # lips and chin
        tissue.tube(lip + at(0, 0, z, moved_by), [3.5, 5, 5, 3.5], flat=0.6, sides=MIDLINE)
