"""Level sets, fuzzy clusters and local moments: ours on the device against NumPy and SciPy.

    python -m benchmarks.classical [--slices=34] [--side=224] [--steps=50] [--rounds=5]

The same arithmetic on the same stack of synthetic slices, in float32 (`classical_peer`): DRLSE and Chan-Vese for a
number of steps, spatial fuzzy c-means, and the moments of 3 x 3 x 3 neighborhoods. Ours start on the device.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import classical_peer, contest, record
from benchmarks.contest import OURS
from ichjax.ops import fuzzy_clusters, level_sets, local_moments

PEER = "NumPy + SciPy"
ALF, NU = -1.5, 0.1
START_HU = (10.0, 30.0, 40.0, 60.0)  # centers from which the clusters start


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table.

    Raises:
      RuntimeError: the contestants disagree.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("slices", 34), ("side", 224), ("steps", 50), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    sizes = {"slices": options.slices, "side": options.side, "steps": options.steps}
    rows = []
    for task in classical_peer.TASKS:
        contestants = [
            contest.Contestant(label, f"benchmarks.classical:{prepare}", task=task, **sizes)
            for label, prepare in ((OURS, "prepare"), (PEER, "prepare_peer"))
        ]
        measured = contest.measure(contestants, rounds=options.rounds, name=task)
        require_close(measured[OURS].facts, measured[PEER].facts, task)
        rows += [{"what": task.replace("_", " "), **contest.scan_row(measured, label)} for label in measured]
    description = (
        f"Shared steps of the classical methods on {options.slices} slices of {options.side} x {options.side}: level "
        f"sets for {options.steps} steps, spatial fuzzy c-means ({classical_peer.CLUSTERS} clusters, "
        f"{classical_peer.FUZZY_STEPS} updates), moments of 3 x 3 x 3 pixels; medians of {options.rounds} alternating "
        "rounds, each contestant in its own process. Results agree. Ours start on the device."
    )
    record.publish("classical", rows, description=description, packages=("numpy", "scipy"))


def require_close(ours: dict, theirs: dict, task: str) -> None:
    """Raises RuntimeError if a summary differs by more than 1 %."""
    for name, value in ours.items():
        if not np.isclose(value, theirs[name], rtol=0.01, atol=1e-3):
            raise RuntimeError(f"{task}: {name} is {theirs[name]} in {PEER}; ours is {value}")


def prepare(*, task: str, slices: int, side: int, steps: int) -> Callable[[], dict]:
    """Our contestant; the result is ready on the device."""
    arguments = jax.device_put(inputs(task, slices=slices, side=side))
    program = jax.jit(make_program(task, steps=steps))
    return lambda: summary(task, jax.block_until_ready(program(*arguments)))


def prepare_peer(*, task: str, slices: int, side: int, steps: int) -> Callable[[], dict]:
    """The peer."""
    arguments, function = inputs(task, slices=slices, side=side), classical_peer.TASKS[task]
    options: dict[str, Any] = {"drlse": {"steps": steps, "alf": ALF}, "chan_vese": {"steps": steps, "nu": NU}}.get(
        task, {}
    )
    return lambda: summary(task, function(*arguments, **options))


def inputs(task: str, *, slices: int, side: int) -> tuple[np.ndarray, ...]:
    """What both contestants start from."""
    stack = classical_peer.example(slices=slices, side=side)
    image, inside, phi = stack["image"], stack["inside"], np.asarray(level_sets.from_mask(stack["start"]))
    centers = np.tile(np.float32(START_HU), (slices, 1))
    return {
        "drlse": (phi, np.asarray(level_sets.edge_indicator(jnp.asarray(image * 2.55)))),
        "chan_vese": (phi, image / 100, inside),
        "spatial_fuzzy_clusters": (image, inside, centers),
        "local_moments": (image, inside),
    }[task]


def make_program(task: str, *, steps: int) -> Callable:
    """Our function of `inputs`."""
    programs: dict[str, Callable] = {
        "drlse": lambda phi, edge: level_sets.drlse(phi, edge, iterations=steps, alf=ALF),
        "chan_vese": lambda *stacks: level_sets.chan_vese(*stacks, iterations=steps, nu=NU),
        "spatial_fuzzy_clusters": lambda *stacks: fuzzy_clusters.spatial(
            *stacks, max_iterations=classical_peer.FUZZY_STEPS
        ),
        "local_moments": local_moments.local_moments,
    }
    return programs[task]


def summary(task: str, result: Any) -> dict:
    """A few numbers that tell whether two results are the same."""
    if task in ("drlse", "chan_vese"):
        return {"inside_px": int((np.asarray(result) < 0).sum())}
    if task == "spatial_fuzzy_clusters":
        return {f"center_{k}": float(center) for k, center in enumerate(np.asarray(result[0]).mean(axis=0))}
    return {f"moment_{k}": float(np.asarray(moment, np.float64).mean()) for k, moment in enumerate(result)}


if __name__ == "__main__":
    main()
