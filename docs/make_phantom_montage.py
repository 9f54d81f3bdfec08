"""Draws docs/phantom_montage.png: slices of synthetic subjects, with and without the synthetic reader's outline.

Run from the repository's root: PYTHONPATH=. python docs/make_phantom_montage.py
"""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom.dataset import PhantomSubject, make_subject

SEED = 0
COLUMNS = (  # title, sub-type, subject of the calibrated set
    ("epidural", "EDH", 51),
    ("subdural", "SDH", 64),
    ("intraparenchymal", "IPH", 52),
    ("intraventricular", "IVH", 89),
    ("subarachnoid", "SAH", 98),
    ("skull base, no bleed", None, 49),
)
OUTLINE = "#E69F00"  # orange of the Okabe-Ito palette, distinct from gray with any color vision


def pick_slice(subject: PhantomSubject, subtype: str | None) -> int:
    """The slice with the largest mask among those with this sub-type and the fewest others; for None, the slice with
    the most bone, which passes through the petrous bones."""
    if subtype is None:
        return int(np.argmax((subject.hu > 900).sum(axis=(1, 2))))
    labels = subject.slice_labels
    positive = labels[:, SUBTYPES.index(subtype)]
    fewest = labels[positive].sum(axis=1).min()
    return int(np.argmax(subject.mask.sum(axis=(1, 2)) * (positive & (labels.sum(axis=1) == fewest))))


def main() -> None:
    figure, axes = plt.subplots(3, len(COLUMNS), figsize=(12, 6.6), facecolor="black")
    for column, (title, subtype, number) in enumerate(COLUMNS):
        subject = make_subject(number, seed=SEED, preset="calibrated")
        d = pick_slice(subject, subtype)
        for row, (low, high) in enumerate(((-20, 100), (-20, 100), (-900, 2300))):
            axis = axes[row, column]
            axis.imshow(subject.hu[d], cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
            axis.set_axis_off()
        if subject.mask[d].any():
            axes[1, column].contour(subject.mask[d], [0.5], colors=OUTLINE, linewidths=1.0, linestyles="dashed")
        axes[0, column].set_title(f"{title}\nsubject {number}", color="white", fontsize=9)
    figure.subplots_adjust(0, 0, 1, 0.93, wspace=0.01, hspace=0.01)
    figure.savefig(pathlib.Path(__file__).with_name("phantom_montage.png"), dpi=110, facecolor="black")


if __name__ == "__main__":
    main()
