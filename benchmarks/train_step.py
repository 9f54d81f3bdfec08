"""Patches per second of a training step or a forward pass against Keras and PyTorch, for several widths and batches.

    python -m benchmarks.train_step [--cases=16x16,32x8,64x4] [--side=160] [--rounds=7] [--steps=1]
                                    [--peers=keras-tensorflow,torch] [--work=train_step] [--dtype=float32,bfloat16]

A case is a base width and a batch size. All contestants of a case alternate, each in its own process; the ratio is the
median over the rounds of a contestant's seconds divided by ours. On a GPU, whose memory may not hold all of them, ours
is compared with one peer at a time, unless --together is given, and each is compiled while nothing else runs there.
"""

import argparse
import importlib.metadata
import itertools

import jax

from benchmarks import contest, record
from benchmarks.contest import OURS

RESIDENT = "ichjax, resident"  # our label with the scans in the device's memory
# {label: (module of the work, environment of its process, further options)}
PEERS = {
    "keras-tensorflow": ("keras_reference", {"KERAS_BACKEND": "tensorflow"}, {}),
    "keras-tensorflow-xla": ("keras_reference", {"KERAS_BACKEND": "tensorflow"}, {"jit_compile": True}),
    "keras-jax": ("keras_reference", {"KERAS_BACKEND": "jax"}, {}),
    "keras-torch": ("keras_reference", {"KERAS_BACKEND": "torch"}, {}),
    "torch": ("torch_reference", {}, {}),
    RESIDENT: ("our_work", {}, {"resident": True}),  # of `train_epoch` alone
}
PEER_PACKAGES = {"keras-tensorflow": ("keras", "tensorflow"), "keras-tensorflow-xla": ("keras", "tensorflow")}
PEER_PACKAGES |= {"keras-jax": ("keras",), "keras-torch": ("keras", "torch"), "torch": ("torch",), RESIDENT: ()}
DESCRIPTIONS = {
    "train_step": "A training step (forward, backward, Adam; dropout, no augmentation)",
    "forward": "A forward pass without dropout",
}


def contestant(peer: str, work: str, *, label: str | None = None, **options: object) -> contest.Contestant:
    """Starts `OURS` or one of `PEERS` with the function `work` of its module; `label` replaces its name."""
    module, environ, further = ("our_work", {}, {}) if peer == OURS else PEERS[peer]
    work = f"benchmarks.{module}:{work}"
    return contest.Contestant(label or peer, work, environ=environ, **options, **further)


def contests(peers: list[str], *, together: bool) -> list[list[str]]:
    """The labels of each contest: ours with all peers, or with one peer at a time."""
    return [[OURS, *peers]] if together else [[OURS, peer] for peer in peers]


def compare(
    labels: list[str], work: str, *, rounds: int, amount: int | str, name: str, **options: object
) -> list[dict[str, object]]:
    """Measures contestants in alternating rounds.

    Args:
      labels: ours and at least one peer.
      work: a function of each contestant's module.
      rounds: of each.
      amount: patches per round, or the key under which the work returns them.
      name: for the progress bar.
      options: of the work.

    Returns:
      A row for each: 'by', 'patches a second', 'least', 'most', 'ours is times as fast', and 'says', the facts that the
      work returned.

    Raises:
      RuntimeError: a contestant failed; the message names it.
    """
    measured = contest.measure(
        (contestant(label, work, **options) for label in labels),
        rounds=rounds,
        name=f"{name}, {' '.join(labels)}",
        alone=jax.default_backend() != "cpu",
    )
    rows = []
    for label, one in measured.items():
        rate = contest.rate(one.seconds, one.facts[amount] if isinstance(amount, str) else amount)
        rows.append(
            {
                "by": label,
                "patches a second": rate.median,
                "least": rate.least,
                "most": rate.most,
                "ours is times as fast": contest.ratio(measured, OURS, label),
                "says": one.facts,
            }
        )
    return rows


def publish(name: str, rows: list[dict], failures: list[str], peers: list[str], description: str) -> None:
    """Writes and prints the table; raises SystemExit if every contest failed."""
    description += "".join(f" FAILED: {failure}." for failure in failures)
    if not rows:
        raise SystemExit(description)
    record.publish(name, rows, description=description, packages=packages(peers))


def packages(peers: list[str]) -> tuple[str, ...]:
    """The installed packages of the peers, whose versions are recorded."""
    installed = importlib.metadata.packages_distributions()  # TensorFlow may be installed as tensorflow-cpu
    return tuple(dict.fromkeys(installed[package][0] for peer in peers for package in PEER_PACKAGES[peer]))


def add_peers(parser: argparse.ArgumentParser, *, gpu: bool) -> None:
    """Adds the option that this benchmark and `train_epoch` share."""
    parser.add_argument("--peers", default="keras-jax,keras-torch,torch" if gpu else "keras-tensorflow,torch")


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    contest.share_gpu()
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_peers(parser, gpu=gpu)
    parser.add_argument("--dtype", default="bfloat16,float32" if gpu else "float32", help="of the computation")
    parser.add_argument("--cases", default="64x32,64x128,64x256,64x512" if gpu else "16x16,32x8,64x4")
    parser.add_argument("--work", default="train_step", choices=tuple(DESCRIPTIONS))
    text = "all peers in one contest, not one each; the default on a CPU"
    parser.add_argument("--together", action=argparse.BooleanOptionalAction, default=not gpu, help=text)
    for name, default in (("side", 160), ("rounds", 7), ("steps", 10 if gpu else 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    peers, rows, failures = options.peers.split(","), [], []
    sizes = [tuple(map(int, case.split("x"))) for case in options.cases.split(",")]
    for (width, batch), dtype in itertools.product(sizes, options.dtype.split(",")):
        case = {"width": width, "batch": batch, "side": options.side, "dtype": dtype}
        running = {"rounds": options.rounds, "amount": batch * options.steps, "name": f"width {width}, {dtype}"}
        for labels in contests(peers, together=options.together):
            try:
                compared = compare(labels, options.work, **running, **case, steps=options.steps)
            except RuntimeError as error:  # most likely out of memory: the other cases can still be measured
                failures.append(f"width {width}, batch {batch}, {' and '.join(labels)}: {str(error)[:200]}")
                continue
            rows += [{**case, **row} for row in compared]
    description = (
        f"{DESCRIPTIONS[options.work]} of the paper's U-Net on a batch that is in the device's memory. "
        f"{options.rounds} alternating rounds of {options.steps} steps, each contestant in its own process. Patches "
        "per second are medians; the ratio is the median over the rounds of a contestant's seconds divided by ours. "
        "Keras by train_on_batch and predict_on_batch with its defaults (jit_compile is 'auto'; 'says' in the JSON "
        "file records whether it compiled), PyTorch channels-last"
        + (", by torch.compile." if gpu else ", not compiled.")
    )
    publish(options.work, rows, failures, peers, description)


if __name__ == "__main__":
    main()
