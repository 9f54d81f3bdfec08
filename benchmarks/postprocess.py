"""Stitching, thresholds, morphology and scores: ours on the device against NumPy, OpenCV and scikit-learn.

    python -m benchmarks.postprocess [--slices=34] [--patches=7] [--side=128] [--rounds=7]

Ours is one compiled program from the predicted patches on the device to the masks and their pixel counts; Dice and
Jaccard follow from the counts on the host, as in a run. Both peers run on the host (`postprocess_peer`); the second
counts pixels in NumPy, which is much faster than scikit-learn.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import contest, keras_pipeline, postprocess_peer, record
from benchmarks.contest import OURS
from ichjax.metrics import overlap
from ichjax.ops import metrics, patches

HOST_PEERS = {"sklearn": "NumPy + OpenCV + scikit-learn", "sums": "NumPy + OpenCV"}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table.

    Raises:
      RuntimeError: the contestants disagree on a score.
    """
    contest.share_gpu()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("slices", 34), ("patches", 7), ("side", contest.PATCH_SIDE), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    sizes = {"slices": options.slices, "patches": options.patches, "side": options.side}
    contestants = [contest.Contestant(OURS, "benchmarks.postprocess:prepare", **sizes)]
    for kind, label in HOST_PEERS.items():
        work = "benchmarks.postprocess_peer:prepare"
        contestants.append(contest.Contestant(label, work, **sizes, overlap=kind))
    measured = contest.measure(contestants, rounds=options.rounds, name="postprocess")
    for label in HOST_PEERS.values():
        require_same(measured[OURS].facts, measured[label].facts, label)
    rows = [contest.scan_row(measured, label) for label in measured]
    extent = options.side // 2 * (options.patches + 1)
    description = (
        f"Stitching {options.patches} x {options.patches} patches of {options.side} x {options.side} a slice, masks at "
        f"{len(postprocess_peer.THRESHOLDS)} thresholds, closed and opened, Dice and Jaccard of each slice and which "
        f"slices are predicted positive, of a scan of {options.slices} slices of {extent} x {extent}; medians of "
        f"{options.rounds} alternating rounds, each contestant in its own process. All give the same masks and scores. "
        "Probabilities are synthetic; ours start on the device, the peers' in the host's memory."
    )
    packages = ("numpy", "opencv-python-headless", "scikit-learn")
    record.publish("postprocess", rows, description=description, packages=packages)


def require_same(ours: dict, theirs: dict, label: str) -> None:
    """Raises RuntimeError if two summaries differ: pixels at all, scores by more than float32's rounding."""
    for name in ours:
        exact = name == "mask_px"
        if not np.allclose(ours[name], theirs[name], rtol=0 if exact else 1e-6, atol=0, equal_nan=True):
            raise RuntimeError(f"{label}: {name} is {theirs[name]}; ours is {ours[name]}")


def make_program(*, side: int) -> Callable:
    """Compiles our program for a stride of half a patch: (patches float32 [D, rows, columns, P, P], truth uint8
    [D, H, W]) -> (mask uint8 [D, H, W] at the first threshold, counts of `metrics.counts_at`).

    It works slice by slice, as `ichjax.experiment.scoring` does: a slice at all thresholds stays in a CPU's cache.
    """
    thresholds = jnp.array(postprocess_peer.THRESHOLDS, jnp.float32)
    kernels = {"closing": keras_pipeline.CLOSING_PX, "opening": keras_pipeline.OPENING_PX}

    def of_slice(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple]:
        probability, truth = inputs
        stitched = patches.stitch(probability[None], stride=side // 2)
        level = metrics.levels(stitched[0], thresholds, **kernels)
        mask = level >= metrics.ranks(thresholds)[0].astype(level.dtype)
        return mask.astype(jnp.uint8), metrics.counts_at(level, thresholds, truth)

    @jax.jit
    def program(probability: jax.Array, truth: jax.Array) -> tuple[jax.Array, tuple]:
        return jax.lax.map(of_slice, (probability, truth > 0))

    return program


def score(mask: np.ndarray, counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> postprocess_peer.Scores:
    """Scores from the program's output, on the host."""
    true_px, predicted_px, both_px = counts[0][:, None], *counts[1:]
    predicted_positive = predicted_px > keras_pipeline.RULE_PX
    detection = postprocess_peer.detection(predicted_positive, true_px[:, 0] > 0)
    scores = (overlap.score_positive(of, true_px, predicted_px, both_px) for of in (overlap.dice, overlap.jaccard))
    return postprocess_peer.Scores(mask, *scores, detection)


def prepare(*, side: int, **sizes: int) -> Callable[[], dict]:
    """Our contestant: patches and truth are on the device; mask and scores are returned to the host."""
    inputs = jax.device_put(postprocess_peer.example(side=side, **sizes))
    program = make_program(side=side)

    def work() -> dict:
        return postprocess_peer.summary(score(*jax.device_get(program(*inputs))))

    return work


if __name__ == "__main__":
    main()
