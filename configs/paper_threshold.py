"""The paper's first experiment: two gray-level thresholds by grid search, no morphology.

    python launch.py crossval --config=configs/paper_threshold.py --workdir=runs/threshold --config.data.root=DIR

All 5,106 pairs are scored by their mean Jaccard index on the training subjects of each fold.

Time: seconds per fold, after the scans have been read once.
Score in the paper, on the real data: thresholds 140 and 230, Jaccard 0.08, Dice 0.135.
"""

from ichjax.config import default


def get_config():
    """The defaults, which are the paper's, with the threshold method."""
    config = default()
    config.method = "threshold"
    config.compare_with = ()
    return config
