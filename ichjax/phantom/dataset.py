"""Writes synthetic data sets of head CTs in the layouts of public data sets and of one's own scans.

Everything about a subject follows from (seed, number, preset). `calibrated` has the statistics of the real set; `demo`
is small and made in seconds. docs/phantom.md describes how realistic they are.
"""

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
from collections.abc import Callable

import tqdm

from ichjax.data.ct_ich_nifti import NIFTI_MASKS
from ichjax.data.label_tables import FIRST_NUMBER
from ichjax.errors import InputError
from ichjax.phantom import write, write_cq500, write_jpeg, write_own, write_rsna
from ichjax.phantom.subject import PRESETS, PhantomSubject, make_subject

WRITERS = {  # layout: (write_scan, write_tables)
    "nifti": (write.write_scan, write.write_tables),
    "jpeg": (write_jpeg.write_scan, write_jpeg.write_tables),
    "own": (write_own.write_scan, write_own.write_tables),
    "rsna": (write_rsna.write_scan, write_rsna.write_tables),
    "cq500": (write_cq500.write_scan, write_cq500.write_tables),
}


def write_dataset(
    root: pathlib.Path, *, subjects: int, seed: int = 0, preset: str = "demo", layout: str = "nifti", workers: int = 0
) -> None:
    """Writes `subjects` phantoms, numbered from 49, as a data set.

    Args:
      root: the folder to write; created if it does not exist.
      layout: 'nifti' (release 1.3.1 of ct-ich), 'jpeg' (its releases 1.0.0 to 1.2.0), 'own' (one's own scans),
        'rsna' (RSNA 2019) or 'cq500'; the last two are DICOM with labels and without masks.
      workers: number of processes, 0 for one per core; does not affect the result.

    Raises:
      InputError: an unknown preset or layout, or fewer than one subject.
    """
    if preset not in PRESETS:
        raise InputError(f"no phantom preset is called {preset!r}; expected one of {', '.join(PRESETS)}")
    if layout not in WRITERS:
        raise InputError(f"no layout of a data set is called {layout!r}; expected one of {', '.join(WRITERS)}")
    if subjects < 1:
        raise InputError(f"cannot write a data set of {subjects} phantoms; expected at least 1")
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if layout == "nifti":
        (root / NIFTI_MASKS).mkdir(exist_ok=True)  # even if no subject has a hemorrhage
    numbers = range(FIRST_NUMBER, FIRST_NUMBER + subjects)
    write_scan, write_tables = WRITERS[layout]
    make = functools.partial(_make_and_write, write_scan, root, seed, preset)
    workers = min(workers or len(os.sched_getaffinity(0)), subjects)
    bar = functools.partial(tqdm.tqdm, total=subjects, desc="phantoms", unit="subject", disable=None)
    if workers == 1:
        rows = list(bar(map(make, numbers)))
    else:
        # Spawned, not forked: the caller may have threads, and every worker starts from the same clean state.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            rows = list(bar(pool.map(make, numbers)))
    slices, people = [row for slice_rows, _ in rows for row in slice_rows], [row for _, row in rows]
    footer = f"Synthetic data, no patients: ichjax phantoms, preset {preset}, seed {seed}"
    write_tables(root, slices, people, footer=footer)


def _make_and_write(
    write_scan: Callable[[pathlib.Path, PhantomSubject], None], root: pathlib.Path, seed: int, preset: str, number: int
) -> tuple[list[write.Row], write.Row]:
    """Makes and writes one subject; returns its rows of the slice table and its row of the subject table."""
    subject = make_subject(number, seed=seed, preset=preset)
    write_scan(root, subject)
    return write.slice_rows(subject), write.subject_row(subject)
