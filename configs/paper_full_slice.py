"""The paper's second experiment: the U-Net on whole slices of 640 x 640 pixels, in batches of two.

    python launch.py crossval --config=configs/paper_full_slice.py --workdir=runs/full_slice --config.data.root=DIR

Training and validation use only the slices with a hemorrhage, as in the paper. NIfTI scans are resampled in plane to
650 pixels and cropped by 5 at each edge; scans of the JPEG releases already are 640 x 640. Masks and scores are on the
scan's own grid. At most two devices can share a batch of two.

Time: needs a GPU; a run prints an estimate before training.
Score in the paper, on the real data: none. The network collapsed to empty masks, Dice 0; a run reports after each epoch
if its output is constant.
"""

from ichjax.config import default


def get_config():
    """The defaults, with one patch as large as the slice."""
    config = default()
    config.grid.side = 640
    config.grid.border = 5
    config.patch.side = 640
    config.patch.stride = 640
    config.train.batch_size = 2
    config.predict.batch_size = 2
    config.train.slices = "hemorrhage"
    config.train.negatives = "none"  # a slice with a hemorrhage is one positive patch, and there are no others
    return config
