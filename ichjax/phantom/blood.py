"""How bright, how large and how tall hemorrhages are, by sub-type: the tables that phantoms are drawn from.

Quantiles of density estimates in the public repository DIDSR/InSilicoICH (src/insilicoICH/distributions, CC0 1.0). They
were made there from the 192 scans of the BHSD set, inside the readers' masks. The repository does not say whether its
HU are of voxels or of lesions. Here they are taken as those of voxels: a lesion's HU are drawn closer to the median,
because noise and partial volume spread the voxels further.
"""

import dataclasses

import numpy as np

PERCENTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
HU = {
    "IVH": (19.9, 25.6, 28.7, 32.3, 34.9, 37.3, 39.5, 41.8, 44.4, 47.6, 51.9, 55.5, 63.2),
    "IPH": (26.7, 33.0, 36.3, 40.1, 43.0, 45.6, 47.9, 50.3, 52.7, 55.2, 58.4, 61.0, 67.1),
    "SAH": (25.0, 31.4, 34.2, 37.4, 39.6, 41.5, 43.3, 45.3, 47.5, 50.3, 54.2, 57.9, 65.5),
    "EDH": (31.8, 37.4, 41.6, 47.4, 50.9, 53.8, 56.4, 58.9, 61.6, 64.6, 68.7, 72.6, 81.8),
    "SDH": (12.6, 27.0, 33.8, 40.8, 45.1, 48.4, 51.3, 54.2, 57.3, 60.9, 65.5, 69.2, 77.2),
}
VOLUME_ML = {
    "IVH": (0.21, 0.27, 0.53, 1.04, 1.57, 2.13, 2.75, 3.47, 4.45, 6.07, 11.27, 18.83, 52.44),
    "IPH": (0.45, 0.65, 1.45, 3.03, 4.67, 6.42, 8.43, 10.89, 14.45, 22.52, 43.11, 59.5, 87.84),
    "SAH": (0.27, 0.27, 0.27, 0.43, 0.6, 0.78, 0.98, 1.21, 1.5, 1.91, 2.81, 4.81, 26.52),
    "EDH": (1.01, 1.73, 2.97, 5.4, 7.86, 10.42, 13.19, 16.3, 20.02, 24.97, 33.01, 40.44, 53.91),
    "SDH": (0.6, 0.7, 1.28, 2.44, 3.65, 4.95, 6.39, 8.11, 10.42, 14.37, 27.82, 56.22, 79.62),
}
# Extent along z in mm as a function of the volume V in mL, a ln V + b: (a, b), fitted there to the BHSD masks.
EXTENT_MM = {"IVH": (6.66, 20.5), "IPH": (6.93, 17.3), "SAH": (5.38, 18.2), "EDH": (10.23, 19.1), "SDH": (10.38, 24.5)}
MIN_EXTENT_MM = 6.0  # the fit is below zero for the smallest
# Share of the spread of the table's HU that lies between lesions; the voxels of blood in narrow sulci differ most.
BETWEEN_LESIONS = {"IVH": 0.75, "IPH": 0.75, "SAH": 0.4, "EDH": 0.75, "SDH": 0.75}
# Share of a bleed's visible volume inside the reader's outline, which is smooth and leaves out slices; measured.
OUTLINED = {"IVH": 0.82, "IPH": 0.9, "SAH": 0.66, "EDH": 0.9, "SDH": 0.75}
VISIBLE_HU = {"IVH": 27.0, "IPH": 40.0, "SAH": 30.0, "EDH": 45.0, "SDH": 45.0}  # acute blood that can be seen
CHRONIC_HU = (18.0, 30.0)  # of blood that is weeks old


@dataclasses.dataclass(frozen=True)
class Amount:
    """What is drawn for one bleed.

    Attributes:
      hu: median HU inside the reader's mask.
      volume_ml: volume of the part that can be seen; the mask's is smaller by the factor `OUTLINED`.
      extent_mm: extent along z.
    """

    hu: float
    volume_ml: float
    extent_mm: float


def draw(subtype: str, *, brightness: float, size: float, scale: float = 1.0, chronic: bool = False) -> Amount:
    """The amount of blood at these quantiles of the sub-type's HU and volume.

    Args:
      subtype: a name of `label_tables.SUBTYPES`.
      brightness, size: quantiles in [0, 1].
      scale: size of the head relative to an adult's.
      chronic: whether the blood is old and therefore dark.
    """
    hu, volumes = HU[subtype], VOLUME_ML[subtype]
    middle = hu[PERCENTILES.index(50)]
    drawn = middle + BETWEEN_LESIONS[subtype] * (float(np.interp(100 * brightness, PERCENTILES, hu)) - middle)
    drawn = max(drawn, VISIBLE_HU[subtype])
    volume_ml = float(np.exp(np.interp(100 * size, PERCENTILES, np.log(volumes))))
    slope, offset = EXTENT_MM[subtype]
    return Amount(
        hu=float(np.interp(brightness, (0, 1), CHRONIC_HU)) if chronic else drawn,
        volume_ml=volume_ml * scale**3 / OUTLINED[subtype],
        extent_mm=max(slope * float(np.log(volume_ml)) + offset, MIN_EXTENT_MM) * scale,
    )
