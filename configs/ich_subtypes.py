"""Sub-types of hemorrhage, on the recipe of configs/ich.py: two networks, the second tells sub-types, for a GPU.

    python launch.py crossval --config=configs/ich_subtypes.py --workdir=runs/ich_subtypes --config.data.root=DIR

The data need masks of sub-types (`label_names.csv`, docs/data.md) or slices that are labeled with one sub-type each. A
fold trains four networks: the first stage on all training scans and on each half of them, for priors out of fold, and
the second stage. `train.minutes` is of each of them: 4 hours a fold at most. It has not been run on a GPU: neither the
time of a step nor a score is known.
"""

import pathlib
import runpy


def get_config():
    """The recipe for a GPU, with two stages."""
    config = runpy.run_path(str(pathlib.Path(__file__).with_name("ich.py")))["get_config"]()
    config.method = "subtypes"
    config.options.inner_folds = 2  # parts of the training scans, each with a prior of a network trained on the others
    config.options.prior_blank = 0.1  # of the second stage's examples, so that it does not rely on the prior blindly
    config.phantom.layout = "own"  # its masks have sub-types
    config.train.minutes = 60.0  # of each training
    return config
