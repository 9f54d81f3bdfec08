"""From the network's patches to cleaned masks and scores: ours on the device against NumPy, OpenCV and scikit-learn.

    python -m benchmarks.postprocess [--slices=34] [--patches=7] [--side=128] [--rounds=7]

Ours is one compiled program that begins where prediction leaves the patches, on the device, and ends with the masks
and their pixel counts; Dice and Jaccard follow from the counts on the host, as in a run. Two peers on the host, see
`postprocess_peer`: the second counts pixels in NumPy, which is far faster than scikit-learn.
"""

import argparse
import os
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
      RuntimeError: the contestants do not agree on a score.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("slices", 34), ("patches", 7), ("side", contest.PATCH_SIDE), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    sizes = {"slices": options.slices, "patches": options.patches, "side": options.side}
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    contestants = [contest.Contestant(OURS, "benchmarks.postprocess:prepare", **sizes)]
    for kind, label in HOST_PEERS.items():
        work = "benchmarks.postprocess_peer:prepare"
        contestants.append(contest.Contestant(label, work, **sizes, overlap=kind))
    found = contest.measure(contestants, rounds=options.rounds, name="postprocess")
    for label in HOST_PEERS.values():
        require_same(found[OURS]["said"], found[label]["said"], label)
    rows = []
    for label, one in found.items():
        scans = contest.summary(one["seconds"])
        rows.append(
            {
                "who": label,
                "seconds a scan": 1 / scans["median"],
                "least": 1 / scans["most"],
                "most": 1 / scans["least"],
                "ichjax is times as fast": contest.ratio(found, OURS, label),
            }
        )
    extent = options.side // 2 * (options.patches + 1)
    said = (
        f"Stitching {options.patches} x {options.patches} patches of {options.side} x {options.side} a slice, masks at "
        f"{len(postprocess_peer.THRESHOLDS)} thresholds, closed and opened, Dice and Jaccard of each slice and which "
        f"slices are called positive, of a scan of {options.slices} slices of {extent} x {extent}; medians of "
        f"{options.rounds} rounds, the contestants in turn, each in a process of its own. All give the same masks and "
        "scores. Probabilities are made up; ours begin on the device, the peers' in the host's memory."
    )
    path = record.write("postprocess", rows, said=said, packages=("numpy", "opencv-python-headless", "scikit-learn"))
    print(f"{said}\n\n{record.table(rows)}\n\nwritten: {path}")


def require_same(ours: dict, theirs: dict, label: str) -> None:
    """Raises RuntimeError where two summaries differ: pixels at all, scores by more than float32's rounding."""
    for name in ours:
        exact = name == "mask_px"
        if not np.allclose(ours[name], theirs[name], rtol=0 if exact else 1e-6, atol=0, equal_nan=True):
            raise RuntimeError(f"{label}: {name} is {theirs[name]}; ours is {ours[name]}")


def make_program(*, side: int) -> Callable:
    """Our program, compiled, at half a patch's stride: (patches float32 [D, rows, columns, P, P], truth uint8
    [D, H, W]) -> (mask uint8 [D, H, W] at the first threshold, counts as `metrics.counts_at` gives them).

    Slice by slice, as `ichjax.experiment.scoring` does: a slice at all thresholds stays in a CPU's cache.
    """
    thresholds = jnp.array(postprocess_peer.THRESHOLDS, jnp.float32)
    kernels = {"closing": keras_pipeline.CLOSING_PX, "opening": keras_pipeline.OPENING_PX}

    def of_slice(pixels):
        probability, truth = pixels
        stitched = patches.stitch(probability[None], stride=side // 2)
        level = metrics.levels(stitched[0], thresholds, **kernels)
        mask = level >= metrics.ranks(thresholds)[0].astype(level.dtype)
        return mask.astype(jnp.uint8), metrics.counts_at(level, thresholds, truth)

    @jax.jit
    def program(probability, truth):
        return jax.lax.map(of_slice, (probability, truth > 0))

    return program


def score(mask: np.ndarray, counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> postprocess_peer.Scores:
    """What the program's output comes to, on the host."""
    true_px, predicted_px, both_px = counts[0][:, None], *counts[1:]
    bleeds, called = true_px[:, 0] > 0, predicted_px > keras_pipeline.RULE_PX
    right = called == bleeds[:, None]
    detection = np.stack([right[bleeds].mean(axis=0), right[~bleeds].mean(axis=0), right.mean(axis=0)], axis=1)
    scores = (overlap.score_positive(of, true_px, predicted_px, both_px) for of in (overlap.dice, overlap.jaccard))
    return postprocess_peer.Scores(mask, *scores, detection)


def prepare(*, side: int, **sizes: int) -> Callable[[], dict]:
    """Our contestant: the patches and the truth are on the device, the mask and the scores come back to the host."""
    inputs = jax.device_put(postprocess_peer.example(side=side, **sizes))
    program = make_program(side=side)

    def work() -> dict:
        return postprocess_peer.summary(score(*jax.device_get(program(*inputs))))

    return work


if __name__ == "__main__":
    main()
