"""The paper's third experiment: the U-Net on 160 x 160 patches at stride 80 of 640 x 640 pixels, 49 per slice.

    python launch.py crossval --config=configs/paper_patches.py --workdir=runs/patches --config.data.root=DIR

NIfTI scans are resampled in plane to 650 pixels and cropped by 5 at each edge; scans of the JPEG releases already are
640 x 640. Masks and scores are on the scan's own grid. configs/paper_patches_nifti.py does not resample, as in the
authors' later code.

The authors' code for the JPEG release differs from the paper's text; each difference is a field, off by default:
--config.train.negatives=one_slice --config.predict.min_max_stretch=True --config.predict.quantize_8bit=True
--config.patch.corner_pixel=True --config.evaluate.slice_rule_px=400

Time: needs a GPU; a run prints an estimate before training.
Score in the paper, on the real data: Dice 0.315, Jaccard 0.218 (mean over 35 subjects).
"""

from ichjax.config import default


def get_config():
    """The defaults, which are the paper's, on the grid of its images."""
    config = default()
    config.grid.side = 640
    config.grid.border = 5
    config.patch.side = 160
    config.patch.stride = 80
    config.train.batch_size = 32
    return config
