"""Patches per second of a training epoch from scans on disk, with augmentation, against Keras and PyTorch.

    python -m benchmarks.train_epoch [--width=16] [--batch=16] [--side=128] [--stride=64] [--subjects=4]
                                     [--examples=64] [--rounds=5] [--peers=keras-tensorflow,torch] [--resident]

Ours reads HU by grain from memory-mapped scans and augments on the device. The peers work as the authors do: patches
with a hemorrhage are 8-bit images on disk, read and warped by SciPy on the host. Rounds alternate as in `train_step`.
--resident adds ours with the scans in the device's memory (`config.train.resident`); with --peers= it is the only peer.
"""

import argparse

import jax

from benchmarks import contest, train_step
from ichjax.phantom import store


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    contest.share_gpu()
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    train_step.add_peers(parser, gpu=gpu)
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32", help="of the computation")
    parser.add_argument("--preset", default="calibrated", help="of the phantoms")
    parser.add_argument("--resident", action="store_true", help="add ours with the scans in the device's memory")
    sizes = {"width": 64, "batch": 128, "subjects": 25, "examples": 0} if gpu else {}
    sizes = {"width": 16, "batch": 16, "subjects": 4, "examples": 64, "side": 128, "stride": 64, "rounds": 5, **sizes}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    root = store.dataset_root("", preset=options.preset, subjects=options.subjects, seed=0)
    peers = [peer for peer in options.peers.split(",") if peer] + [train_step.RESIDENT] * options.resident
    rows: list[dict] = []
    failures: list[str] = []
    names = ("width", "side", "stride", "batch", "examples", "dtype")
    case = {name: getattr(options, name) for name in names}
    running = {"rounds": options.rounds, "amount": "patches", "name": "epochs"}
    for labels in train_step.contests(peers, together=not gpu):
        try:
            compared = train_step.compare(labels, "train_epoch", **running, root=str(root), **case)
        except RuntimeError as error:
            failures.append(f"{' and '.join(labels)}: {str(error)[:200]}")
            continue
        rows += [{**case, **row} for row in compared]
    description = (
        f"A training epoch of the paper's U-Net from the scans of {options.subjects} phantoms on disk (preset "
        f"'{options.preset}', files in the operating system's cache after the first round), on patches with a "
        "hemorrhage, with random affine augmentation and without validation. "
        f"{options.rounds} alternating rounds of one epoch, each contestant in its own process. Patches per second are "
        "medians; the ratio is the median over the rounds of a contestant's seconds divided by ours. Ours: grain, and "
        "augmentation on the device. Peers: patches as PNG files, SciPy's affine transform on the host, `fit` or a "
        "DataLoader."
    )
    if options.resident:
        description += f" '{train_step.RESIDENT}': the device holds the scans and cuts the patches."
    name = "train_epoch_resident" if peers == [train_step.RESIDENT] else "train_epoch"
    train_step.publish(name, rows, failures, peers, description)


if __name__ == "__main__":
    main()
