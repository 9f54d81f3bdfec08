"""The methods of the literature on the same folds: classical ones, networks, the paper's own, one report.

    python launch.py crossval --config=configs/literature/all.py --workdir=runs/literature

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds, of which
`make literature` runs the first and `make literature-full` all. The report has a section on the literature.
"""

import pathlib
import runpy


def get_config():
    """The demo's U-Net, compared with all other methods."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.phantom.layout = "own"
    config.compare_with = (
        "threshold",
        "full_slices",
        "yuh",
        "li",
        "chan",
        "shahangian",
        "bhadauria",
        "nag",
        "muschelli",
        "gautam",
        "prakash",
        "recurrent_unet",
        "kuang",
        "kuo",
        "cho",
        "chang",
        "grewal",
        "ye",
        "lee",
        "chilamkurthy",
        "prevedello",
        "arbabshirani",
        "jnawali",
    )
    return config


# Random transforms of classifiers in their published size; the small ones learn faster without.
CLASSIFIER_AUGMENT = {"rotation_degrees": 15.0, "shift": 0.05, "zoom": 0.1}


def full(method, **options):
    """As `alone`, on synthetic scans of 512 x 512."""
    config = alone(method, **options)
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 75
    return config


def alone(method, **options):
    """The same scans and folds, one method alone, with its own options."""
    config = get_config()
    config.method = method
    config.compare_with = ()
    if options:
        config.options[method] = options
    return config
