"""A scan's prediction from HU to mask and volume, against Keras and PyTorch, in batches and one patch at a time.

    python -m benchmarks.predict_scan [--scan=FILE] [--slices=34] [--width=16] [--rounds=3] [--peers=torch]

The default scan is a calibrated phantom of about 34 slices. All contestants have the same weights and must predict the
same mask, except the whole-slice mode, which is another function.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import nibabel as nib

from benchmarks import contest, record
from benchmarks.contest import OURS, PATCH_SIDE, PATCH_STRIDE
from benchmarks.keras_pipeline import read_weights
from benchmarks.our_work import paper_config, save_weights
from benchmarks.train_step import contestant, packages
from ichjax.data import dataset as datasets
from ichjax.models import unet
from ichjax.phantom import store
from ichjax.scan.nifti import read_nifti

SLICES = 34
SINGLE_PATCHES = ", one patch at a time"
WHOLE = f"{OURS}, whole slices"


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table.

    Raises:
      RuntimeError: a contestant failed or predicted another mask.
    """
    contest.share_gpu()
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=pathlib.Path, help="a NIfTI file of HU; side a multiple of 64, 128 or more")
    parser.add_argument("--slices", type=int, default=SLICES, help="from the middle of the scan")
    parser.add_argument("--width", type=int, default=64 if gpu else 16, help="of the network's first level")
    parser.add_argument("--rounds", type=int, default=7 if gpu else 3)
    parser.add_argument("--batch", type=int, default=196 if gpu else 32, help="patches per batch")
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32", help="of the computation")
    parser.add_argument("--peers", default="keras-jax,torch" if gpu else "keras-tensorflow,torch")
    options = parser.parse_args(argv)
    peers = options.peers.split(",")
    with tempfile.TemporaryDirectory() as folder:
        scan = os.path.join(folder, "scan.nii")
        slices = write_middle(options.scan or phantom_path(), options.slices, scan)
        weights = os.path.join(folder, "weights.npz")
        save_weights(weights, options.width)
        sizes = {"scan": scan, "width": options.width, "side": PATCH_SIDE, "stride": PATCH_STRIDE}
        sizes |= {"batch": options.batch, "weights": weights, "dtype": options.dtype}
        sizes["threshold"] = middle_probability(scan, weights, options)
        contestants = _contestants(peers, sizes)
        measured = contest.measure(contestants, rounds=options.rounds, name="predict_scan", alone=gpu)
    if options.dtype == "float32":
        require_same_masks({label: one.facts["pixels"] for label, one in measured.items() if label != WHOLE})
    rows = [
        {
            **contest.scan_row(measured, label),
            "ichjax by whole slices is": contest.ratio(measured, WHOLE, label),
            "peak memory, MB": one.facts["peak_mb"],
            "mask, pixels": one.facts["pixels"],
        }
        for label, one in measured.items()
    ]
    description = (
        f"A scan of {slices} slices from HU to mask and volume: windowing, patches of {PATCH_SIDE} x {PATCH_SIDE} at "
        f"stride {PATCH_STRIDE}, the paper's U-Net of base width {options.width} ({options.dtype}, untrained weights, "
        f"the same for all), stitching, closing and opening; medians of {options.rounds} alternating rounds, each "
        f"contestant in its own process; reading the file is not counted. Batches of {options.batch} patches, unless "
        "one at a time. The threshold is the median probability of one patch, so that the mask is not empty; all "
        "predict the same mask but the whole slices, which are another function. Memory is the peak of each process, "
        "on the host."
    )
    record.publish("predict_scan", rows, description=description, packages=packages(peers))


def _contestants(peers: list[str], sizes: dict) -> Iterator[contest.Contestant]:
    """Ours in both modes, the peers in batches, and the first Keras peer one patch at a time, as the authors."""

    def start(peer: str, **further: object) -> contest.Contestant:
        return contestant(peer, "predict_scan", **sizes, **further)

    yield start(OURS)
    yield start(OURS, label=WHOLE, whole_slices=True)
    one_at_a_time = next((peer for peer in peers if peer.startswith("keras")), None)
    for peer in peers:
        yield start(peer)
        if peer == one_at_a_time:
            yield start(peer, label=peer + SINGLE_PATCHES, one_at_a_time=True)


def write_middle(scan: pathlib.Path, slices: int, path: str) -> int:
    """Writes up to that many middle slices of a scan to `path`; returns their number."""
    image = nib.load(scan)
    count = min(slices, image.shape[2])
    first = (image.shape[2] - count) // 2
    nib.save(image.slicer[:, :, first : first + count], path)
    return count


def middle_probability(scan: str, weights: str, options: argparse.Namespace) -> float:
    """The median probability of the scan's middle patch; an untrained network's probabilities would all lie on one side
    of a fixed threshold."""
    config = paper_config(options.width, PATCH_SIDE, 1)
    hu = read_nifti(pathlib.Path(scan)).hu
    top, left = ((size - PATCH_SIDE) // 2 for size in hu.shape[1:])
    network = unet.network_from_config(config)
    image = network.images(jnp.asarray(hu[len(hu) // 2, top : top + PATCH_SIDE, left : left + PATCH_SIDE][None]))
    return float(jnp.median(jax.jit(network.probability)(read_weights(weights), image)))


def require_same_masks(pixels: dict[str, int]) -> None:
    """Raises RuntimeError if masks are empty or differ by more than the few pixels that rounding moves across the
    threshold; `pixels` is {label: size of its mask}."""
    most, least = max(pixels.values()), min(pixels.values())
    if not least or most - least > 1e-3 * most:
        raise RuntimeError(f"masks of {pixels} pixels; expected the same number above 0 from all")


def phantom_path() -> pathlib.Path:
    """The calibrated phantom whose number of slices is closest to a typical scan's."""
    root = store.dataset_root("", preset="calibrated", subjects=6, seed=0)
    paths = [subject.scan_path for subject in datasets.read_dataset(root).subjects]
    return min(paths, key=lambda path: abs(nib.load(path).shape[2] - SLICES))


if __name__ == "__main__":
    main()
