"""The table of a data set with labels of slices or scans and no masks, as text for a terminal."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.report.tables.text import align


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionSet:
    """What the table needs.

    Attributes:
      title: of the layout.
      units: {name, such as 'slices': (how many, how many have labels, bool [n, 6] the labels of those)}.
      findings: {further finding: (scans that have it, scans of which it is known)}.
      slices: int [S], slices of each scan that can be read.
      spacing_mm: float [S], median slice spacing; nan of a single slice.
      pixel_mm: float [S], between columns.
      matrices: (rows, columns) of each scan.
      skipped: number of files or scans that are not used.
    """

    title: str
    units: Mapping[str, tuple[int, int, np.ndarray]]
    findings: Mapping[str, tuple[int, int]]
    slices: np.ndarray
    spacing_mm: np.ndarray
    pixel_mm: np.ndarray
    matrices: Sequence[tuple[int, int]]
    skipped: int


def detection_text(data: DetectionSet, notes: Sequence[str] = ()) -> str:
    """The table, the geometry of the scans, and the notes."""
    units = list(data.units.values())
    rows = [["", *data.units], ["All", *(str(count) for count, _, _ in units)]]
    rows.append(["With usable labels", *(str(known) for _, known, _ in units)])
    for k, name in enumerate(DETECTION_LABELS):
        rows.append([name, *(str(int(labels[:, k].sum())) for _, _, labels in units)])
    lines = [data.title, *(f"  {line}" for line in align(rows)), ""]
    if data.findings:
        rows = [["", "scans", "read"], *([name, str(a), str(b)] for name, (a, b) in data.findings.items())]
        lines += ["Further findings", *(f"  {line}" for line in align(rows)), ""]
    matrices = collections.Counter(data.matrices).most_common()
    rows = [
        ["", "least", "median", "most"],
        ["Slices a scan", *_range(data.slices, "{:.0f}")],
        ["Slice spacing in mm", *_range(data.spacing_mm, "{:.2f}")],
        ["Pixel spacing in mm", *_range(data.pixel_mm, "{:.3f}")],
    ]
    lines += ["Scans", *(f"  {line}" for line in align(rows))]
    lines.append(f"  Matrix: {', '.join(f'{a} x {b} ({count})' for (a, b), count in matrices) or 'unknown'}")
    lines.append(f"  Skipped: {data.skipped}")
    if notes:
        lines += ["", "Notes", *(f"  {note}" for note in notes)]
    return "\n".join(lines)


def _range(values: np.ndarray, style: str) -> list[str]:
    """The least, the median and the largest finite value."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return [style.format(value) for value in np.quantile(finite, (0, 0.5, 1))] if len(finite) else ["-"] * 3
