"""The training step with the layers' forms for each platform, and with deterministic kernels, on this machine.

    python -m benchmarks.forms [--width=64] [--batch=128] [--side=160] [--steps=10] [--rounds=7] [--dtype=bfloat16]

All compute the same function (tests/models/test_platforms.py). The forms for GPUs and TPUs were chosen by what XLA's
compilers say (benchmarks/ahead_of_time.py); this shows which of them is the fastest.
"""

import argparse
from collections.abc import Callable

import jax

from benchmarks import contest, our_work, record
from ichjax import xla
from ichjax.models.convolution import xla_convolutions_only

FORMS = ("cpu", "gpu", "tpu")
SAME_BITS = "deterministic kernels"


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    contest.share_gpu()
    own = jax.default_backend()
    gpu = own == "gpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"width": 64, "batch": 128, "side": 160, "steps": 10} if gpu else {"width": 16, "batch": 8, "side": 160}
    for name, default in ({"steps": 1} | sizes | {"rounds": 7}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32", help="of the computation")
    options = parser.parse_args(argv)
    case = {name: getattr(options, name) for name in ("width", "batch", "side", "dtype", "steps")}
    work, usual = "benchmarks.forms:train_step", f"forms for a {own.upper()}"
    labels = {f"forms for a {forms.upper()}": forms for forms in FORMS}
    settings = {label: ({}, forms) for label, forms in labels.items()}
    settings |= {SAME_BITS: ({"XLA_FLAGS": xla.DETERMINISTIC}, own)} if gpu else {}
    contestants = (
        contest.Contestant(label, work, environ=environ, forms=forms, **case)
        for label, (environ, forms) in settings.items()
    )
    measured = contest.measure(contestants, rounds=options.rounds, name="forms", alone=gpu)
    rows = []
    for label, one in measured.items():
        rate = contest.rate(one.seconds, options.batch * options.steps)
        times = contest.ratio(measured, label, usual)
        rows.append({"step with": label, "patches a second": rate.median, "least": rate.least, "most": rate.most})
        rows[-1] |= {"times as fast as its own forms": times, "loss": one.facts["loss"]}
    description = (
        f"A training step of the paper's U-Net (width {options.width}, batches of {options.batch} patches of "
        f"{options.side} x {options.side}, {options.dtype}) with XLA's convolutions and each platform's forms of the "
        f"layers; medians of {options.rounds} alternating rounds of {options.steps} steps, each in its own process."
    )
    record.publish("forms", rows, description=description)


def train_step(*, forms: str, **case: object) -> Callable[[], dict]:
    """`our_work.train_step` with the layers' forms for the platform `forms`, compiled for this machine's."""
    work = our_work.train_step(**case)

    def with_forms() -> dict:
        with xla.compile_for(forms), xla_convolutions_only():  # the first call traces
            return work()

    return with_forms


if __name__ == "__main__":
    main()
