"""Draws docs/phantom_montage.png: slices of synthetic subjects, plain and with the reader's outline.

Run from the repository's root: python docs/make_phantom_montage.py
"""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ichjax.data import phantom, phantom_plan

# What to show of each column: a sub-type that the subject must have, or None for the skull base of a healthy one.
COLUMNS = ("EDH", "SDH", "IPH", "IVH", "SAH", None)
NAMES = {
    "EDH": "epidural",
    "SDH": "subdural",
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
    "SAH": "subarachnoid",
    None: "skull base, no bleed",
}
OUTLINE = "#E69F00"  # orange of the Okabe-Ito palette, told from gray with any color vision
SEED = 0


def find_number(subtype: str | None, taken: set[int]) -> int:
    """The first subject of the calibrated set with this sub-type (alone, if there is one), not yet taken."""
    kind = phantom.PRESETS["calibrated"]
    plans = [phantom_plan.make_plan(n, seed=SEED, share=kind.share, mix=kind.mix) for n in range(49, 131)]
    fit = [p for p in plans if (subtype in p.subtypes if subtype else not p.subtypes) and p.age_years >= 12]
    fit = [p for p in fit if p.number not in taken and not p.chronic]
    return min(fit, key=lambda p: (len(p.subtypes), p.number)).number


def pick_slice(subject: phantom.PhantomSubject, subtype: str | None) -> int:
    """The slice with the most of the mask; without a bleed, one through the petrous bones."""
    if subtype is None:
        return int(np.argmax((subject.hu > 900).sum(axis=(1, 2))))
    return int(np.argmax(subject.mask.sum(axis=(1, 2))))


def main() -> None:
    figure, axes = plt.subplots(3, len(COLUMNS), figsize=(12, 6.6), facecolor="black")
    taken: set[int] = set()
    for column, subtype in enumerate(COLUMNS):
        number = find_number(subtype, taken)
        taken.add(number)
        subject = phantom.make_subject(number, seed=SEED, preset="calibrated")
        d = pick_slice(subject, subtype)
        for row, (low, high) in enumerate(((-20, 100), (-20, 100), (-900, 2300))):
            axis = axes[row, column]
            axis.imshow(subject.hu[d], cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
            axis.set_axis_off()
        if subject.mask[d].any():
            axes[1, column].contour(subject.mask[d], [0.5], colors=OUTLINE, linewidths=1.0, linestyles="dashed")
        axes[0, column].set_title(f"{NAMES[subtype]}\nsubject {number}", color="white", fontsize=9)
    figure.subplots_adjust(0, 0, 1, 0.93, wspace=0.01, hspace=0.01)
    figure.savefig(pathlib.Path(__file__).with_name("phantom_montage.png"), dpi=110, facecolor="black")


if __name__ == "__main__":
    main()
