"""Patches a second of a training step (or of inference) against Keras and PyTorch, for several widths and batches.

    python -m benchmarks.train_step [--cases=16x16,32x8,64x4] [--side=160] [--rounds=7] [--steps=1]
                                    [--peers=keras-tensorflow,torch] [--work=train_step] [--dtype=float32]

A case is a base width and a batch. Each contestant is a process of its own, and all of a case go in turn, round by
round: the ratio is the median over the rounds of its seconds by ours. On a GPU, where several contestants may not fit
into the memory, ours meets one peer at a time.
"""

import argparse
import importlib.metadata
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the contestants may share a GPU with this process
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax

from benchmarks import contest, record
from benchmarks.contest import OURS

# By the table's names: the module of the work, the environment of its process, further options.
PEERS = {
    "keras-tensorflow": ("keras_reference", {"KERAS_BACKEND": "tensorflow"}, {}),
    "keras-tensorflow-xla": ("keras_reference", {"KERAS_BACKEND": "tensorflow"}, {"jit_compile": True}),
    "keras-jax": ("keras_reference", {"KERAS_BACKEND": "jax"}, {}),
    "keras-torch": ("keras_reference", {"KERAS_BACKEND": "torch"}, {}),
    "torch": ("torch_reference", {}, {}),
}
PEER_PACKAGES = {"keras-tensorflow": ("keras", "tensorflow"), "keras-tensorflow-xla": ("keras", "tensorflow")}
PEER_PACKAGES |= {"keras-jax": ("keras",), "keras-torch": ("keras", "torch"), "torch": ("torch",)}


def contestant(label: str, work: str, **options) -> contest.Contestant:
    """Starts one by its name, `OURS` or one of `PEERS`, for the function `work` of its module."""
    module, environ, more = ("our_work", {}, {}) if label == OURS else PEERS[label]
    return contest.Contestant(label, f"benchmarks.{module}:{work}", environ=environ, **options, **more)


def encounters(peers: list[str], *, together: bool) -> list[list[str]]:
    """Who is measured with whom: all in turn, or ours with one peer after the other."""
    return [[OURS, *peers]] if together else [[OURS, peer] for peer in peers]


def compare(labels: list[str], work: str, *, rounds: int, amount: int | str, name: str, **options) -> list[dict]:
    """Measures contestants in turn.

    Args:
      labels: ours and at least one peer.
      work: a function of each one's module.
      rounds: of each.
      amount: patches of a round, or the key under which the work says them.
      name: for the progress bar.
      options: of the work.

    Returns:
      A row for each: 'by', 'patches a second', 'least', 'most', 'ours is times as fast', and 'says', what the work
      said.

    Raises:
      RuntimeError: a contestant failed; it says which.
    """
    found = contest.measure(
        [contestant(label, work, **options) for label in labels], rounds=rounds, name=f"{name}, {' '.join(labels)}"
    )
    rows = []
    for label, measured in found.items():
        rates = contest.summary(measured["seconds"], measured["said"][amount] if isinstance(amount, str) else amount)
        rows.append(
            {
                "by": label,
                "patches a second": rates["median"],
                "least": rates["least"],
                "most": rates["most"],
                "ours is times as fast": contest.ratio(found, OURS, label),
                "says": measured["said"],
            }
        )
    return rows


def packages(peers: list[str]) -> tuple[str, ...]:
    """The installed packages whose versions count, each once."""
    installed = importlib.metadata.packages_distributions()  # TensorFlow's may be called tensorflow-cpu
    return tuple(dict.fromkeys(installed[package][0] for peer in peers for package in PEER_PACKAGES[peer]))


def add_options(parser: argparse.ArgumentParser, *, gpu: bool) -> None:
    """Options that this benchmark and `train_epoch` share."""
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32", help="of the computation")
    parser.add_argument("--peers", default="keras-jax,keras-torch,torch" if gpu else "keras-tensorflow,torch")


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, gpu=gpu)
    parser.add_argument("--cases", default="64x32,64x128,64x256,64x512" if gpu else "16x16,32x8,64x4")
    parser.add_argument("--work", default="train_step", choices=("train_step", "forward"))
    for name, default in (("side", 160), ("rounds", 7), ("steps", 10 if gpu else 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    peers, rows, failures = options.peers.split(","), [], []
    sizes = {"side": options.side, "steps": options.steps, "dtype": options.dtype}
    for case in options.cases.split(","):
        width, batch = map(int, case.split("x"))
        case_of = {"width": width, "batch": batch, "side": options.side, "dtype": options.dtype}
        for labels in encounters(peers, together=not gpu):
            amount, running = batch * options.steps, {"rounds": options.rounds, "name": f"width {width}"}
            try:
                found = compare(labels, options.work, amount=amount, **running, width=width, batch=batch, **sizes)
            except RuntimeError as error:  # out of memory, most likely: the other cases are worth measuring still
                failures.append(f"width {width}, batch {batch}, {' and '.join(labels)}: {str(error)[:200]}")
                continue
            rows += [{**case_of, **row} for row in found]
    what = {
        "train_step": "A training step (forward, backward, Adam; dropout, no augmentation) of the paper's U-Net on a",
        "forward": "A forward pass without dropout of the paper's U-Net on a",
    }
    said = (
        f"{what[options.work]} batch that is in the device's memory; rounds of {options.steps} steps, {options.rounds} "
        "of each contestant, in turn, each in a process of its own; patches a second are medians, and the ratio is the "
        "median over the rounds of its seconds by ours. Keras by train_on_batch and predict_on_batch as it comes "
        "(jit_compile is 'auto', whether that compiled is in 'says'), PyTorch channels-last"
        + (", by torch.compile." if gpu else ", not compiled.")
        + "".join(f" FAILED: {failure}." for failure in failures)
    )
    if not rows:
        raise SystemExit(said)
    shown = [{name: value for name, value in row.items() if name != "says"} for row in rows]
    path = record.write(options.work, rows, said=said, packages=packages(peers))
    print(f"{said}\n\n{record.table(shown)}\n\nwritten: {path}")


if __name__ == "__main__":
    main()
