"""The paper's third experiment on the NIfTI release: 128 x 128 patches at stride 64 on the native 512 x 512 grid.

    python launch.py crossval --config=configs/paper_patches_nifti.py --workdir=runs/paper --config.data.root=DIR

As in the authors' code for that release: 49 patches per slice, the full network of 31,031,685 parameters, Adam at 1e-5,
batches of 32, their fixed order of subjects. The paper undersamples the patches without a hemorrhage to the number of
those with one; the authors' published code drops them: --config.train.negatives=none.

Time: needs a GPU; a run first prints an estimate, which is days on a CPU.
Score in the paper, on the real data: Dice 0.315, Jaccard 0.218 (mean over 35 subjects).
"""

from ichjax.config import default


def get_config():
    """The defaults, which are the paper's, with patches for the 512 x 512 grid."""
    config = default()
    config.patch.side = 128
    config.patch.stride = 64
    return config
