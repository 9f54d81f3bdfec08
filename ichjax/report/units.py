"""Unit names for display. Images without a spacing (the JPEG release) have nominal mm and mL, and are labeled so."""

from typing import NamedTuple

from ichjax.metrics.records import Results

NOMINAL_NOTE = "Nominal: the images carry no spacing; every mm, mm² and mL here assumes 0.33 x 0.33 x 5 mm."


class Units(NamedTuple):
    """The units of length, area and volume as displayed."""

    mm: str = "mm"
    mm2: str = "mm²"
    ml: str = "mL"

    def display(self, unit: str) -> str:
        """'mL' as displayed in these units; any other unit ('%', '') unchanged."""
        return self.ml if unit == "mL" else unit


MEASURED = Units()
NOMINAL = Units(*(f"nominal {unit}" for unit in MEASURED))


def units(nominal: bool) -> Units:
    """The units of a scan whose spacing is nominal or measured."""
    return NOMINAL if nominal else MEASURED


def units_of(*results: Results) -> Units:
    """The units of one or more results.json shown together: nominal if the spacing of any of them is."""
    return units(any(one.get("nominal_spacing") for one in results))
