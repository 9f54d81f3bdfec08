"""A scan from HU to mask and volume: ours against Keras and PyTorch, and against the authors' one patch at a time.

    python -m benchmarks.predict_scan [--scan=FILE] [--slices=34] [--width=16] [--rounds=3] [--peers=torch]

Without a scan, a calibrated phantom of about 34 slices is taken. All have the same weights, so that they must come to
the same mask; only the whole-slice mode is another function.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contestants may share a GPU with this process
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import jax.numpy as jnp
import nibabel as nib

from benchmarks import contest, record
from benchmarks.contest import OURS, PATCH_SIDE, PATCH_STRIDE
from benchmarks.keras_pipeline import read_weights
from benchmarks.our_work import paper_config, save_weights
from benchmarks.train_step import PEERS, packages
from ichjax.data import dataset as datasets
from ichjax.models import unet
from ichjax.phantom import store
from ichjax.scan.nifti import read_nifti

SLICES = 34
ONE = ", one patch at a time"
WHOLE = f"{OURS}, whole slices"


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table.

    Raises:
      RuntimeError: a contestant failed, or came to another mask.
    """
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=pathlib.Path, help="a NIfTI file of HU; its side a multiple of 64, from 128 on")
    parser.add_argument("--slices", type=int, default=SLICES, help="those in the middle; at most all")
    parser.add_argument("--width", type=int, default=64 if gpu else 16, help="of the network's first level")
    parser.add_argument("--rounds", type=int, default=7 if gpu else 3)
    parser.add_argument("--batch", type=int, default=196 if gpu else 32, help="patches through the network at once")
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32", help="of the computation")
    parser.add_argument("--peers", default="keras-jax,torch" if gpu else "keras-tensorflow,torch")
    options = parser.parse_args(argv)
    peers = options.peers.split(",")
    with tempfile.TemporaryDirectory() as folder:
        scan = os.path.join(folder, "scan.nii")
        slices = write_middle(options.scan or _phantom(), options.slices, scan)
        weights = os.path.join(folder, "weights.npz")
        save_weights(weights, options.width)
        sizes = {"scan": scan, "width": options.width, "side": PATCH_SIDE, "stride": PATCH_STRIDE}
        sizes |= {"batch": options.batch, "weights": weights, "dtype": options.dtype}
        sizes["threshold"] = middle_probability(scan, weights, options)
        found = contest.measure(_contestants(peers, sizes), rounds=options.rounds, name="predict_scan")
    if options.dtype == "float32":
        require_same_masks({label: one["said"]["pixels"] for label, one in found.items() if label != WHOLE})
    rows = [
        {
            "who": label,
            "seconds a scan": 1 / (rate := contest.summary(one["seconds"]))["median"],
            "least": 1 / rate["most"],
            "most": 1 / rate["least"],
            "ichjax is times as fast": contest.ratio(found, OURS, label),
            "ichjax by whole slices is": contest.ratio(found, WHOLE, label),
            "peak memory, MB": one["said"]["peak_mb"],
            "mask, pixels": one["said"]["pixels"],
        }
        for label, one in found.items()
    ]
    said = (
        f"A scan of {slices} slices from HU to mask and volume: windows, patches of {PATCH_SIDE} x {PATCH_SIDE} at "
        f"stride {PATCH_STRIDE}, the paper's U-Net of base width {options.width} ({options.dtype}, untrained weights, "
        f"the same for all), stitching, closing and opening; medians of {options.rounds} rounds, the contestants in "
        f"turn, each in a process of its own; reading the file not counted. {options.batch} patches at once, but "
        "where it says one. The threshold is the middle probability of one patch, so that there is a mask, the "
        "same by all but the whole slices, which are another function. Memory is what each process held at most, on "
        "the host."
    )
    path = record.write("predict_scan", rows, said=said, packages=packages(peers))
    print(f"{said}\n\n{record.table(rows)}\n\nwritten: {path}")


def _contestants(peers: list[str], sizes: dict) -> list[contest.Contestant]:
    """Ours in both modes, the peers in batches, and the first of Keras' one patch at a time, as the authors."""
    work = "benchmarks.our_work:predict_scan"
    found = [contest.Contestant(OURS, work, **sizes), contest.Contestant(WHOLE, work, **sizes, whole_slices=True)]
    for label in peers:
        module, environ, more = PEERS[label]
        work = f"benchmarks.{module}:predict_scan"
        found.append(contest.Contestant(label, work, environ=environ, **sizes, **more))
        if label.startswith("keras") and not any(ONE in one.label for one in found):
            found.append(contest.Contestant(label + ONE, work, environ=environ, **sizes, **more, one_at_a_time=True))
    return found


def write_middle(scan: pathlib.Path, slices: int, path: str) -> int:
    """Writes the middle slices of a scan to `path`, at most all; returns how many."""
    image = nib.load(scan)
    count = min(slices, image.shape[2])
    first = (image.shape[2] - count) // 2
    nib.save(image.slicer[:, :, first : first + count], path)
    return count


def middle_probability(scan: str, weights: str, options: argparse.Namespace) -> float:
    """The median of what the network says of the patch in the middle of a scan: untrained, it is on one side of any
    threshold chosen beforehand."""
    config = paper_config(options.width, PATCH_SIDE, 1)
    hu = read_nifti(pathlib.Path(scan)).hu
    top, left = ((size - PATCH_SIDE) // 2 for size in hu.shape[1:])
    network = unet.network_from_config(config)
    image = network.images(jnp.asarray(hu[len(hu) // 2, top : top + PATCH_SIDE, left : left + PATCH_SIDE][None]))
    return float(jnp.median(jax.jit(network.probability)(read_weights(weights), image)))


def require_same_masks(pixels: dict[str, int]) -> None:
    """Raises RuntimeError where masks are empty, or differ by more than the few pixels that rounding moves over the
    threshold."""
    most, least = max(pixels.values()), min(pixels.values())
    if not least or most - least > 1e-3 * most:
        raise RuntimeError(f"masks of {pixels} pixels; expected some, and the same of all")


def _phantom() -> pathlib.Path:
    """The calibrated phantom whose number of slices is nearest to that of a usual scan."""
    root = store.dataset_root("", preset="calibrated", subjects=6, seed=0)
    paths = [subject.scan_path for subject in datasets.read_dataset(root).subjects]
    return min(paths, key=lambda path: abs(nib.load(path).shape[2] - SLICES))


if __name__ == "__main__":
    main()
