"""Units as they are written: images without a spacing (the jpeg release) have nominal mm and mL, and say so."""

from collections.abc import Mapping
from typing import NamedTuple

IN_WORDS = "Nominal: the images carry no spacing; every mm, mm2 and mL here assumes 0.33 x 0.33 x 5 mm."


class Units(NamedTuple):
    """What to write behind a length, an area and a volume."""

    mm: str = "mm"
    mm2: str = "mm2"
    ml: str = "mL"

    def of(self, unit: str) -> str:
        """A unit as it is to be written: 'mL' in these units' words, any other ('%', '') as it is."""
        return self.ml if unit == "mL" else unit


MEASURED = Units()
NOMINAL = Units(*(f"nominal {unit}" for unit in MEASURED))


def units(nominal: bool) -> Units:
    """The units of a scan whose spacing is nominal, or measured."""
    return NOMINAL if nominal else MEASURED


def units_of(*results: Mapping) -> Units:
    """The units of results.json, nominal where any of them rests on a nominal spacing."""
    return units(any(one.get("nominal_spacing") for one in results))
