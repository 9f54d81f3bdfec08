"""The `suggest` command: which scans to annotate next within a time, by how much the run's networks disagree on them.

A scan's value is the mean disagreement (`ops.uncertainty`) of its patches with the highest ones; the time that it takes
is estimated from what the networks mark. Both are those of Kuo et al. (2018), but for the networks: theirs are four,
trained on the same scans, and here they are the run's folds, and the members of a method that has several.
"""

import csv
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import xla
from ichjax.console import duration, say
from ichjax.data import regrid
from ichjax.errors import InputError, only_input_errors
from ichjax.files import write_csv
from ichjax.inference import annotation_plan
from ichjax.inference import model as trained_runs
from ichjax.inference.annotation_plan import Effort, TimeModel
from ichjax.inference.discover import find_sources
from ichjax.inference.model import TrainedRun
from ichjax.methods.base import Method
from ichjax.methods.slices import pad_depth
from ichjax.ops import uncertainty
from ichjax.prefetch import one_ahead
from ichjax.scan import slabs
from ichjax.scan.volume import Volume

SUGGESTIONS_FILE = "suggestions.csv"
DISAGREEMENT_PATCH_MM = 20.0  # side of the patches
HIGHEST_PATCHES = 8  # that count
MAX_SUGGESTED = 20  # scans that are printed


class Suggestion(TypedDict):
    """A row of suggestions.csv."""

    scan: str
    chosen: str
    value: float
    minutes: float
    boundary_mm: float
    lesions: int


def suggest(
    workdir: pathlib.Path,
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    *,
    hours: float,
    times: pathlib.Path | None = None,
) -> list[str]:
    """Writes OUTPUT/suggestions.csv: all scans, those to annotate first, the most informative of them first.

    Args:
      workdir: of `crossval`, with at least two finished folds, or of a method that has several networks in a fold.
      inputs: as for `predict`.
      output: created if missing.
      hours: the time for annotation.
      times: a CSV file with the columns 'scan' and 'minutes', measured for some of the scans; they are not suggested.

    Returns:
      One sentence for each scan that could not be read.

    Raises:
      InputError: the run cannot be read or has one network alone, the time is not above 0, or `times` cannot be used.
    """
    if not 0 < hours < float("inf"):
        raise InputError(f"--hours is {hours:g}; expected a number above 0")
    xla.start()
    trained = trained_runs.load_run(workdir)
    if len(trained.params) < 2 and type(trained.method).uncertainty is Method.uncertainty:
        raise InputError(
            f"{workdir}: one network alone cannot disagree; expected at least two finished folds, or a method with "
            "several networks"
        )
    measured = {} if times is None else read_times(times)
    sources, problems = find_sources(inputs)
    names = [source.name for source in sources]
    if names and (unknown := sorted(set(measured) - set(names))):
        say(f"{times}: {len(unknown)} of its scans are not in --input ({unknown[0]}); expected names as {min(names)}")
    rows: list[Suggestion] = []
    for source, read in zip(sources, one_ahead(lambda one: one.read(), sources), strict=True):
        try:
            volume = read()
            with only_input_errors(str(source.path), "predicted"):
                value, work = assess(trained, volume)
        except InputError as error:
            problems.append(str(error))
            continue
        rows.append(
            {
                "scan": source.name,
                "chosen": "",
                "value": value,
                "minutes": 0.0,
                "boundary_mm": round(work.boundary_mm, 1),
                "lesions": work.lesions,
            }
        )
        say(f"{source.name}: disagreement {value:.4f}, {work.lesions} lesions, {work.boundary_mm:.0f} mm of contours")
    for problem in problems:
        say(f"skipped: {problem}")
    planned = plan(rows, hours, measured)
    if rows and not planned:
        say("every scan has a measured time: there is none to suggest")
    if planned:
        output.mkdir(parents=True, exist_ok=True)
        write_csv(output / SUGGESTIONS_FILE, planned)
        _print(planned, hours, output)
    return problems


def read_times(path: pathlib.Path) -> dict[str, float]:
    """{scan: minutes} of a CSV file with these columns; InputError if it cannot be read or has other values."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a CSV file of annotation times") from error
    times = {}
    for number, row in enumerate(rows, start=2):
        try:
            times[row["scan"]] = float(row["minutes"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: line {number} has no minutes; expected the columns scan, minutes") from error
        if not 0 < times[row["scan"]] < float("inf"):
            raise InputError(f"{path}: line {number} has {row['minutes']} minutes; expected a number above 0")
    return times


def plan(rows: Sequence[Suggestion], hours: float, measured: Mapping[str, float]) -> list[Suggestion]:
    """The rows with times and choices: chosen scans first, each part by value.

    Args:
      rows: of all scans.
      hours: the time for annotation.
      measured: {scan: minutes} of scans that are annotated; they are left out, and from `MIN_FITTED_TIMES` of them on
        the times of the others are estimated by them.
    """
    known = [row for row in rows if row["scan"] in measured]
    open_rows = [row for row in rows if row["scan"] not in measured]
    model = TimeModel()
    if len(known) >= annotation_plan.MIN_FITTED_TIMES:
        model = annotation_plan.fit([_effort_of(row) for row in known], [measured[row["scan"]] for row in known])
    minutes = [model.minutes(_effort_of(row)) for row in open_rows]
    chosen = set(annotation_plan.choose([row["value"] for row in open_rows], minutes, 60.0 * hours))
    planned: list[Suggestion] = [
        {**row, "minutes": round(time, 1), "chosen": "yes" if k in chosen else "no"}
        for k, (row, time) in enumerate(zip(open_rows, minutes, strict=True))
    ]
    return sorted(planned, key=lambda row: (row["chosen"] == "no", -row["value"], row["scan"]))


def _effort_of(row: Suggestion) -> Effort:
    return Effort(row["boundary_mm"], row["lesions"])


def assess(trained: TrainedRun, volume: Volume) -> tuple[float, Effort]:
    """(the value of annotating a scan, the effort), from all networks of a run."""
    slab_volume, _ = slabs.average_to_slabs(volume, trained.slice_spacing_mm)
    folds = [trained.method.predict(params, slab_volume).probability for params in trained.params]
    within = [trained.method.uncertainty(params, slab_volume) for params in trained.params]
    grid = regrid.own_grid(slab_volume)
    side = max(1, round(DISAGREEMENT_PATCH_MM / grid.row_mm))
    padded = [[pad_depth(one, 0.0) for one in maps if one is not None] for maps in (folds, within)]
    value = _value(*padded, side=side)
    mean = np.mean([np.asarray(one) for one in folds], axis=0)
    mask = mean > trained.post.threshold
    return float(value), annotation_plan.effort(mask, (grid.row_mm, grid.column_mm))


@functools.partial(jax.jit, static_argnames="side")
def _value(folds: Sequence[jax.Array], within: Sequence[jax.Array], *, side: int) -> jax.Array:
    """The disagreement of the patches with the highest ones, of all networks: that between folds, and within them.

    The divergence of all networks is the sum of that of the folds' means and the mean of those within the folds.
    """
    disagreement = uncertainty.jensen_shannon(folds)
    if within:
        disagreement += jnp.stack(within).mean(axis=0)
    return uncertainty.highest_patches(disagreement, side=side, count=HIGHEST_PATCHES)


def _print(rows: Sequence[Suggestion], hours: float, output: pathlib.Path) -> None:
    """Prints the chosen scans and where all are."""
    chosen = [row for row in rows if row["chosen"] == "yes"]
    say(f"{'scan':<24}{'disagreement':>14}{'minutes':>10}")
    for row in chosen[:MAX_SUGGESTED]:
        say(f"{row['scan'][:23]:<24}{row['value']:>14.4f}{row['minutes']:>10.1f}")
    if len(chosen) > MAX_SUGGESTED:
        say(f"and {len(chosen) - MAX_SUGGESTED} more")
    total = sum(row["minutes"] for row in chosen)
    say(
        f"{len(chosen)} of {len(rows)} scans, about {duration(60 * total)} of annotation within {hours:g} h -> "
        f"{output / SUGGESTIONS_FILE}"
    )
