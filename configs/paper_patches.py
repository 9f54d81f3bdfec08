"""The paper's third experiment: the U-Net on 160 x 160 patches at stride 80 of 640 x 640 pixels, 49 a slice.

    python launch.py crossval --config=configs/paper_patches.py --workdir=runs/patches --config.data.root=DIR

NIfTI scans are resampled in plane to 650 pixels, less 5 at each edge; scans of the JPEG releases are 640 x 640 already
and stay as they are. Masks and scores are on the scan's own grid. configs/paper_patches_nifti.py does without
resampling, as the authors' later code.

The authors' code for the JPEG release differs from the paper's text; each oddity is a field, off by default:
--config.train.negatives=one_slice --config.predict.min_max_stretch=True --config.predict.quantize_8bit=True
--config.patch.corner_pixel=True --config.evaluate.slice_rule_px=400

Time: made for a GPU; before training, a run says what it takes on your machine.
Score in the paper, on the real data: Dice 0.315, Jaccard 0.218 (mean over 35 subjects).
"""

from ichjax.config import default


def get_config():
    """The defaults are the paper's; the grid is that of its images."""
    config = default()
    config.grid.side = 640
    config.grid.border = 5
    config.patch.side = 160
    config.patch.stride = 80
    config.train.batch_size = 32
    return config
