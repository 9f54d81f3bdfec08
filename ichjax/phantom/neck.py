"""Phantom neck: muscles, large vessels, salivary glands, larynx and thyroid gland."""

from ichjax.phantom.soft_tissue import MIDLINE, SoftTissue


def add_neck(tissue: SoftTissue) -> None:
    """Adds the soft tissue around the cervical spine and below the jaw."""
    _nape(tissue)
    _sides(tissue)
    _glands_and_vessels(tissue)
    _front(tissue)


def _nape(tissue: SoftTissue) -> None:
    """Muscles behind the spine, from the deep ones outwards."""
    tissue.tube([(5, 47, -58), (8, 56, -36)], [3.5, 5])  # rectus capitis posterior minor
    tissue.tube([(5, 53, -80), (20, 54, -56), (24, 56, -36)], [4, 6, 7])  # ... major
    tissue.tube([(8, 49, -78), (20, 38, -70), (35, 25, -58)], [5, 7, 4.5])  # obliquus capitis inferior
    tissue.tube([(37, 25, -56), (40, 46, -36)], [4.5, 7])  # ... superior
    multifidus = [(12, 43, -84), (12, 44, -130), (13, 44, -190)]
    tissue.column(multifidus, [(7, 6), (9, 7), (10, 8)])
    semispinalis = [(12, 74, -14), (15, 68, -40), (15, 61, -80), (14, 58, -130), (13, 56, -190)]
    tissue.column(semispinalis, [(9, 5), (12, 8), (12, 6.5), (11, 6), (9, 6)], yaw_deg=-14)
    splenius = [(52, 46, -28), (44, 53, -50), (30, 62, -90), (22, 64, -130), (15, 64, -190)]
    tissue.column(splenius, [(13, 4.5), (15, 5), (16, 4.5), (15, 4), (12, 4)], yaw_deg=-38)
    trapezius = [(12, 84, -8), (14, 80, -40), (22, 74, -90), (34, 69, -140), (48, 62, -190)]
    tissue.column(trapezius, [(10, 1.8), (12, 2.2), (19, 3), (28, 4), (36, 6)], yaw_deg=-16)
    tissue.column([(50, 38, -40), (36, 42, -80), (29, 42, -190)], [(5, 4), (5, 5), (6, 6)])  # longissimus


def _sides(tissue: SoftTissue) -> None:
    """Sternocleidomastoid, levator scapulae, scalene and prevertebral muscles."""
    mastoid = [(63, 34, -32), (61, 30, -50), (56, 20, -80), (46, 2, -130), (30, -16, -190)]
    tissue.column(mastoid, [(5, 12), (6, 14), (7, 17), (7, 16), (7, 13)], yaw_deg=-24)
    tissue.column([(37, 24, -58), (38, 32, -100), (46, 36, -190)], [(5, 6), (7, 8), (8, 11)], yaw_deg=-20)
    tissue.column([(27, 14, -84), (32, 14, -130), (42, 8, -190)], [(5, 5), (7, 7), (8, 10)])  # scalene
    tissue.column([(8, 0, -42), (9, -3, -58), (9, -3, -100), (8, -3, -190)], [(7, 5), (8, 5), (7, 4.5), (6, 4)])
    tissue.tube([(56, 30, -40), (44, 8, -74), (30, -22, -102)], [4, 4.5, 3])  # digastric
    tissue.tube([(47, 8, -62), (24, -22, -102)], [2, 3])  # stylohyoid


def _glands_and_vessels(tissue: SoftTissue) -> None:
    rng = tissue.rng
    parotid, submandibular, blood = rng.uniform(15, 42), rng.uniform(35, 60), rng.uniform(36, 48)
    tissue.column([(57, 6, -32), (58, 4, -56), (56, 2, -86)], [(7, 10), (10, 14), (7, 9)], hu=parotid, spread=1.6)
    tissue.ellipsoid((66, -14, -58), (4.5, 16, 14), hu=parotid)
    tissue.ellipsoid((36, -24, -96), (9, 15, 12), hu=submandibular)
    tissue.column([(26, 6, -34), (27, 2, -80), (25, -2, -190)], [(2.6, 2.6), (3, 3), (3.6, 3.6)], hu=blood)
    tissue.column([(32, 12, -36), (35, 8, -90), (31, -2, -190)], [(4.5, 4), (5, 5), (7, 6)], hu=blood, spread=1.6)
    for _ in range(rng.integers(2, 7)):  # lymph nodes
        center = (rng.uniform(36, 52), rng.uniform(-10, 30), rng.uniform(-130, -70))
        tissue.ellipsoid(center, rng.uniform(2, 4.5, 3), hu=rng.uniform(35, 60))


def _front(tissue: SoftTissue) -> None:
    """Wall of the pharynx, larynx, trachea and esophagus, strap muscles and thyroid gland."""
    pharynx = [(0, -24, -40), (0, -19, -56), (0, -16, -80), (0, -18, -104), (0, -22, -128), (0, -20, -152)]
    path = [*pharynx, (0, -18, -240)]
    axes = [(12, 9), (15, 10), (15, 9), (16, 11), (13, 16), (12, 12), (11, 11)]
    tissue.column(path, axes, hu=tissue.rng.uniform(42, 58), sides=MIDLINE)
    tissue.column([(0, -5, -145), (0, -5, -240)], [(7, 4), (7, 4)], sides=MIDLINE)
    tissue.column([(9, -36, -112), (9, -38, -150), (10, -36, -240)], [(7, 2.2), (8, 2.2), (9, 2.5)], yaw_deg=25)
    tissue.ellipsoid((19, -20, -160), (8, 11, 20), hu=tissue.rng.uniform(70, 120))
