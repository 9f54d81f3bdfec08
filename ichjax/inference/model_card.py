"""A model card (Mitchell et al., 2019): what a trained model is, learnt from, reaches, and cannot do."""

import pathlib

from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, RESULTS_FILE, read_json

LIMITS = """\
- For research. Not a medical device: nobody has shown that it is safe or useful for patients.
- It finds what its training scans showed. Other scanners, kernels, contrast, metal, surgery, children, old bleeds and
  other diseases may make it wrong, in either direction, with high probabilities.
- A mask that is empty does not mean that there is no hemorrhage.
"""


def write(workdir: pathlib.Path, about: dict, *, method: str) -> str:
    """The card of a run as Markdown.

    Args:
      workdir: the run; its results.json is quoted where there is one.
      about: what `export` says of the program.
      method: `Method.card`.
    """
    config = read_json(workdir / CONFIG_FILE)
    synthetic = config.get("data", {}).get("synthetic")
    data = "synthetic head CTs (phantoms); it has never seen a patient" if synthetic else "the data set named in config"
    lines = [
        "# Model card: segmentation of intracranial hemorrhage in head CT",
        "",
        "## Model",
        f"{method}, in ichjax; folds {_listed(about['folds'])} averaged; configuration {about['config_digest']}.",
        f"Takes {about['takes']}, of pixels of {about['pixel_mm'][0]:.3f} x {about['pixel_mm'][1]:.3f} mm. "
        f"Gives {about['gives']}.",
        f"A pixel is predicted from a probability of {about['threshold']:g} on ({about['threshold_chosen_on']}), then "
        f"closed by {about['closing_px']} and opened by {about['opening_px']} pixels.",
        "",
        "## Training data",
        f"Trained on {data}.",
        "",
        "## Scores",
        *_scores(workdir),
        "",
        "## Limits",
        LIMITS,
    ]
    return "\n".join(lines)


def _scores(workdir: pathlib.Path) -> list[str]:
    try:
        results = read_json(workdir / RESULTS_FILE)
    except InputError:
        return ["No fold of this run has been tested."]
    paper, free = results["conventions"]["paper"], results["hemorrhage_free"]
    rows = [
        "Cross-validated: each scan by the fold that had not seen it. The average of folds was not tested itself.",
        "",
    ]
    rows += ["| score | value | 95 % interval | subjects |", "| --- | --- | --- | --- |"]
    for name in ("dice", "jaccard"):
        value = paper[name]
        interval = "-" if value["ci95"] is None else "{:.3f} to {:.3f}".format(*value["ci95"])
        rows.append(
            f"| {name.capitalize()}, the paper's convention | {value['mean']:.3f} | {interval} | {value['n']} |"
        )
    if free["n"]:
        interval = "{:.1f} to {:.1f}".format(*free["false_positive_ml_ci95"])
        rows.append(
            f"| false positives without a hemorrhage, mL | {free['false_positive_ml']:.1f} | {interval} | {free['n']} |"
        )
    if "invalid" in results:
        rows += ["", f"INVALID: {results['invalid']}"]
    return rows


def _listed(folds: list[int]) -> str:
    return ", ".join(map(str, folds))
