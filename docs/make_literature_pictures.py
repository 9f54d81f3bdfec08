"""Draws docs/literature_failures.png: for each method of a finished `make literature`, a bleed that it marks badly.

Run from the repository's root: PYTHONPATH=. python docs/make_literature_pictures.py [RUN]
"""

import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ichjax.report.figures import case as cases
from ichjax.report.figures.contours import PREDICTION_COLOR, TRUTH_COLOR
from ichjax.report.workdir import Run, read_run

COLUMNS = 4
LEAST_ML = 2.0  # of a bleed that a method could have seen
CELL_INCHES = 3.0


def typical_failure(run: Run, name: str) -> dict:
    """The subject with a clear bleed whose Dice is the lower quartile of the method's."""
    rows = [row for row in run.methods[name]["subjects"] if row["truth_ml"] > LEAST_ML]
    rows.sort(key=lambda row: row["dice"])
    return rows[len(rows) // 4]


def main() -> None:
    run = read_run(sys.argv[1] if len(sys.argv) > 1 else "runs/literature")
    dataset = cases.open_dataset(run)
    subjects = {subject.number: subject for subject in dataset.subjects}
    rows = -(-len(run.methods) // COLUMNS)
    size = (COLUMNS * CELL_INCHES, rows * (CELL_INCHES + 0.35))
    figure, axes = plt.subplots(rows, COLUMNS, figsize=size, facecolor="black", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, folder) in zip(axes.flat, run.folders.items(), strict=False):
        row = typical_failure(run, name)
        case = cases.load_case(run, dataset, row["subject"])
        path = (folder / "predictions").relative_to(run.path)
        prediction = cases.load_on_grid(run, str(path), subjects[row["subject"]], case.volume) > 0
        d = int(np.argmax((case.truth | prediction).sum(axis=(1, 2)) * case.truth.any(axis=(1, 2))))
        top, left = cases.body_box(case.volume.hu[d : d + 1])
        axis.imshow(cases.brain_window(case.volume.hu[d])[top, left], cmap="gray", interpolation="bilinear")
        for mask, color in ((case.truth, TRUTH_COLOR), (prediction, PREDICTION_COLOR)):
            if mask[d].any():
                axis.contour(mask[d][top, left], [0.5], colors=color, linewidths=1.0)
        title = f"{name}\nsubject {row['subject']} ({', '.join(row['subtypes'])}), Dice {row['dice']:.2f}"
        axis.set_title(title, color="white", fontsize=9)
    for place, (text, color) in enumerate((("truth", TRUTH_COLOR), ("prediction", PREDICTION_COLOR))):
        figure.text(0.45 + 0.06 * place, 0.004, text, color=color, fontsize=10)
    figure.subplots_adjust(0, 0.02, 1, 0.95, wspace=0.02, hspace=0.14)
    figure.savefig(pathlib.Path(__file__).with_name("literature_failures.png"), dpi=80, facecolor="black")


if __name__ == "__main__":
    main()
