"""The paper's second experiment: the U-Net on whole slices of 640 x 640 pixels, one 'patch' a slice, two a batch.

    python launch.py crossval --config=configs/paper_full_slice.py --workdir=runs/full_slice --config.data.root=DIR

Trained and validated on the slices with a hemorrhage only, as in the paper. NIfTI scans are resampled in plane to 650
pixels, less 5 at each edge; scans of the JPEG releases are 640 x 640 already and stay as they are. Masks and scores
are on the scan's own grid. A batch of two is shared by at most two devices.

Time: made for a GPU; before training, a run says what it takes on your machine.
Score in the paper, on the real data: none. The network collapsed to empty masks, Dice 0; a run here whose output is
constant says so after each epoch.
"""

from ichjax.config import default


def get_config():
    """The defaults, with a patch that is the slice."""
    config = default()
    config.grid.side = 640
    config.grid.border = 5
    config.patch.side = 640
    config.patch.stride = 640
    config.train.batch_size = 2
    config.predict.batch_size = 2
    config.train.slices = "hemorrhage"
    config.train.negatives = "none"  # a slice with a hemorrhage is one positive patch: there are no others
    return config
