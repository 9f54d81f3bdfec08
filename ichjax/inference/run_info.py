"""The `info` command: what a trained run is, what it was trained on, its scores, and which scans it takes, as text."""

import pathlib
import textwrap
from collections.abc import Iterator

from ichjax.errors import InputError, only_input_errors
from ichjax.files import CONFIG_FILE, RESULTS_FILE, SPLITS_FILE, read_json
from ichjax.inference import model_card
from ichjax.inference.manifest import MANIFEST_FILE, format_manifest
from ichjax.inference.model import TrainedRun, load_run
from ichjax.scan import slabs

LABEL_WIDTH, MAX_WIDTH = 12, 110  # characters of a label, and of a line


def format_info(workdir: pathlib.Path) -> str:
    """Describes a work directory of `train` or `crossval`, or an output folder of `predict`, for the terminal.

    Raises:
      InputError: the folder is neither, no fold is trained, or a file is damaged.
    """
    if (workdir / MANIFEST_FILE).is_file() and not (workdir / CONFIG_FILE).is_file():
        with only_input_errors(str(workdir / MANIFEST_FILE)):
            return format_manifest(workdir)
    trained = load_run(workdir)
    try:
        results = read_json(workdir / RESULTS_FILE)
    except InputError:
        results = {}
    with only_input_errors(str(workdir / SPLITS_FILE)):
        folds, training_data = _folds(trained, workdir), _training_data(trained, workdir)
    with only_input_errors(str(workdir / RESULTS_FILE)):
        scores = list(_scores(results))
    lines = [
        ("method", f"{trained.method.title}: {trained.method.card}"),
        ("folds", folds),
        ("trained on", training_data),
        *scores,
        ("takes", _takes(trained)),
        ("gives", _gives(trained)),
        ("positive", _decision(trained)),
        ("provenance", _provenance(trained, results)),
    ]
    return "\n".join([str(workdir), *(format_line(label, text) for label, text in lines)])


def format_line(label: str, text: str) -> str:
    """An indented line with a label, wrapped below its text."""
    indent = " " * (LABEL_WIDTH + 2)
    return textwrap.fill(text, MAX_WIDTH, initial_indent=f"  {label:{LABEL_WIDTH}}", subsequent_indent=indent)


def _folds(trained: TrainedRun, workdir: pathlib.Path) -> str:
    planned = len(read_json(workdir / SPLITS_FILE)["folds"])
    names = ", ".join(map(str, trained.folds))
    return f"{names} trained, of {planned}" + ("; averaged for other scans" if len(trained.folds) > 1 else "")


def _training_data(trained: TrainedRun, workdir: pathlib.Path) -> str:
    folds = read_json(workdir / SPLITS_FILE)["folds"]
    count = len({subject for fold in folds for subject in (*fold["train"], *fold["validation"], *fold["test"])})
    synthetic = read_json(workdir / CONFIG_FILE)["data"].get("synthetic")
    text = f"{count} subjects of a data set"
    if synthetic:
        phantom = trained.config.phantom
        text = f"{count} synthetic head CTs (preset {phantom.preset}, seed {phantom.seed}); it has never seen a patient"
    if (trained_on := trained.method.trained_on(trained.params[0])) is not None:
        rows_mm, columns_mm = trained_on.pixel_mm
        text += f"; pixels of {rows_mm:.3f} x {columns_mm:.3f} mm, slices every {trained_on.slice_spacing_mm:.1f} mm"
    return text


def _scores(results: dict) -> Iterator[tuple[str, str]]:
    if not results:
        yield "scores", "none: no fold has been tested"
        return
    yield "scores", "each scan was scored by the fold that had not seen it (mean, 95 % interval, number of scans)"
    for what, mean, interval, subjects, digits in model_card.score_rows(results):
        value = "-" if mean is None else f"{mean:.{digits}f}"
        between = "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
        yield "", f"{what:44}{value:7}{between:18}n = {subjects}"
    if "invalid" in results:
        yield "", f"INVALID: {results['invalid']}"


def _takes(trained: TrainedRun) -> str:
    text = "head CTs in HU without contrast, NIfTI or DICOM, axial slices of any size"
    if trained.pixel_mm is not None:
        text += "; other pixel sizes are resampled in plane"
    return (
        f"{text}; slices less than {slabs.THIN_SLICE_MM:g} mm apart are averaged to slabs of about "
        f"{trained.slice_spacing_mm:.1f} mm"
    )


def _gives(trained: TrainedRun) -> str:
    where = " inside the skull" if trained.config.predict.inside_skull else ""
    subtypes = "sub-types (--subtypes)" if trained.method.segments_subtypes else "no sub-types"
    return f"a mask and a probability{where}; {subtypes}"


def _decision(trained: TrainedRun) -> str:
    post = trained.post
    gates = ", ".join(f"{name} {value:g}" for name, value in post.gates.items())
    return (
        f"above a probability of {post.threshold:g} ({post.chosen_on}){f'; {gates}' if gates else ''}; closed by "
        f"{post.closing_px} and opened by {post.opening_px} pixels"
    )


def _provenance(trained: TrainedRun, results: dict) -> str:
    versions = results.get("versions", {})
    programs = ", ".join(f"{name} {versions[name]}" for name in ("ichjax", "jax", "python") if name in versions)
    devices = ", ".join(results.get("devices", []))
    parts = [f"configuration {trained.digest}", f"parameters and settings {trained.identity}", programs, devices]
    return "; ".join(part for part in parts if part)
