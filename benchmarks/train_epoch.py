"""Patches a second of a training epoch from scans on disk, with reading and augmentation, against Keras and PyTorch.

    python -m benchmarks.train_epoch [--width=16] [--batch=16] [--side=128] [--stride=64] [--subjects=4]
                                     [--examples=64] [--rounds=5] [--peers=keras-tensorflow,torch]

Ours reads HU by grain from memory-mapped scans and augments on the device. The peers work as the authors do: patches
with a hemorrhage lie on disk as 8-bit images, and each is read and warped by SciPy on the host. Contestants go in turn,
as in `train_step`.
"""

import argparse

from benchmarks import train_step  # first: it sets what the contestants inherit

# isort: split
import jax

from benchmarks import record
from ichjax.phantom import store


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    train_step.add_options(parser, gpu=gpu)
    parser.add_argument("--preset", default="calibrated", help="of the phantoms")
    sizes = {"width": 64, "batch": 128, "subjects": 25, "examples": 0} if gpu else {}
    sizes = {"width": 16, "batch": 16, "subjects": 4, "examples": 64, "side": 128, "stride": 64, "rounds": 5, **sizes}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    root = store.dataset_root("", preset=options.preset, subjects=options.subjects, seed=0)
    peers, rows, failures = options.peers.split(","), [], []
    names = ("width", "side", "stride", "batch", "examples", "dtype")
    case = {name: getattr(options, name) for name in names}
    for labels in train_step.encounters(peers, together=not gpu):
        running = {"rounds": options.rounds, "amount": "patches", "name": "epochs"}
        try:
            rows += train_step.compare(labels, "train_epoch", **running, root=str(root), **case)
        except RuntimeError as error:
            failures.append(f"{' and '.join(labels)}: {str(error)[:200]}")
    said = (
        f"A training epoch of the paper's U-Net from the scans of {options.subjects} phantoms on disk (preset "
        f"'{options.preset}', files in the system's cache after the first round), on patches with a hemorrhage, with "
        f"random affine augmentation and without validation; {options.rounds} epochs of each contestant, in turn, each "
        "in a process of its own; patches a second are medians, and the ratio is the median over the rounds of its "
        "seconds by ours. Ours: grain, and augmentation on the device. Peers: patches as PNG files, SciPy's affine "
        "transform on the host, `fit` or a DataLoader." + "".join(f" FAILED: {failure}." for failure in failures)
    )
    if not rows:
        raise SystemExit(said)
    shown = [{name: value for name, value in row.items() if name != "says"} for row in rows]
    rows = [{**case, **row} for row in rows]
    path = record.write("train_epoch", rows, said=said, packages=train_step.packages(peers))
    print(f"{said}\n\n{record.table(shown)}\n\nwritten: {path}")


if __name__ == "__main__":
    main()
