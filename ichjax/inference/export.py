"""Export a trained run as one file that needs only JAX: from HU to mask and probability, weights included.

program = jax.export.deserialize(open("model.jaxexport", "rb").read())  # or, with ichjax: ichjax.load_program(DIR)
mask, probability = program.call(hu)    # int16 [D, H, W]: slices to the head, rows to the back, columns to the left
"""

import functools
import operator
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ichjax.console import say
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.experiment import setup
from ichjax.files import atomic, claim, write_json, write_text
from ichjax.inference import exported as exported_programs
from ichjax.inference import model as trained_runs
from ichjax.inference import model_card, onnx_network
from ichjax.inference.exported import CARD_FILE, PROGRAM_FILE, RECORD_FILE, RUN_FOLDER
from ichjax.inference.model import TrainedRun
from ichjax.inference.onnx_network import ONNX_FILE
from ichjax.inference.records import ProgramRecord
from ichjax.methods.slices import DEPTH_STEP
from ichjax.models.convolution import xla_convolutions_only
from ichjax.ops import metrics, skull
from ichjax.scan.volume import AIR_HU

DEFAULT_PIXEL_MM = 0.45  # of a head CT, for a method that does not depend on it
PLATFORMS = ("cpu", "cuda", "tpu")
SliceProgram = Callable[[jax.Array], jax.Array]  # int16 HU [N, H, W] to float32 probability [N, H, W]


def export(
    workdir: pathlib.Path,
    output: pathlib.Path,
    *,
    side: int = 512,
    pixel_mm: tuple[float, float] | None = None,
    platforms: Sequence[str] = PLATFORMS,
    onnx: bool = False,
) -> pathlib.Path:
    """Writes OUTPUT/model.jaxexport, model.json (its inputs, outputs and age), model_card.md, and run/, from which
    `again` re-creates the program.

    Args:
      workdir: of a run of a network; its finished folds are averaged.
      output: a folder, created if missing.
      side: rows and columns of the slices that the program takes; their number is free.
      pixel_mm: (rows, columns) of their pixels; None takes that of the training scans.
      platforms: any of `PLATFORMS`.
      onnx: also write network.onnx (`onnx_network`).

    Returns:
      The program's path.

    Raises:
      InputError: the run cannot be read or exported, an argument is out of range, or as `onnx_network.convert`.
    """
    if onnx:
        onnx_network.import_packages()  # a missing one is reported before any work
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise InputError(f"--platforms has {unknown[0]!r}; expected some of {', '.join(PLATFORMS)}")
    trained = trained_runs.load_run(workdir, whole_slices=setup.load_config(workdir).predict.whole_slices)
    rows_mm, columns_mm = pixel_mm or trained.pixel_mm or (DEFAULT_PIXEL_MM, DEFAULT_PIXEL_MM)
    grid = Geometry(side, side, rows_mm, columns_mm)
    if not 32 <= side <= 2048 or not all(0.1 <= mm <= 10 for mm in (rows_mm, columns_mm)):
        raise InputError(f"slices of {side} x {side} pixels of {rows_mm} mm; expected 32 to 2048, of 0.1 to 10 mm")
    programs = [program for params in trained.params if (program := trained.method.slice_program(params, grid))]
    if len(programs) < len(trained.params):
        raise InputError(
            f"{workdir}: is a run of the method {trained.config.method!r} ({trained.method.title}), which cannot be "
            "exported; expected a network that predicts each slice independently"
        )
    exported = trace_program(trained, programs, grid, platforms)
    network = onnx_network.convert(trained) if onnx else None
    closing, opening = trained_runs.kernel_sides_px(trained, trained.post, grid)
    record: ProgramRecord = {
        "takes": f"int16 [D, {side}, {side}], HU; slices to the head, rows to the back, columns to the patient's left",
        "gives": f"uint8 [D, {side}, {side}], the mask of 0 and 1; float32 [D, {side}, {side}], the probability",
        "side": side,
        "pixel_mm": [rows_mm, columns_mm],
        "platforms": list(platforms),
        "calling_convention_version": exported.calling_convention_version,
        "threshold": trained.post.threshold,
        "threshold_chosen_on": trained.post.chosen_on,
        "closing_px": closing,
        "opening_px": opening,
        "gates_not_applied": trained.post.gates,
        "folds": list(trained.folds),
        "config_digest": trained.digest,
        "made": exported_programs.today().isoformat(),
        "loads_until": exported_programs.loads_until().isoformat(),
        "versions": setup.versions(),
        "use": "research use only",
    }
    path = output / PROGRAM_FILE
    with claim(output):
        with atomic(path) as temporary:
            temporary.write_bytes(exported.serialize())
        write_json(output / RECORD_FILE, record)
        if network is not None:
            with atomic(output / ONNX_FILE) as temporary:
                temporary.write_bytes(network)
        if workdir.resolve() != (output / RUN_FOLDER).resolve():  # which has no scores for a card
            exported_programs.keep_run(workdir, output, trained.folds)
            if network is None:
                (output / ONNX_FILE).unlink(missing_ok=True)  # of the run that was exported here before
            write_text(output / CARD_FILE, model_card.format_card(workdir, record, method=trained.method.card))
    until = record["loads_until"]
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, for {', '.join(platforms)}; guaranteed to load until {until}")
    if network is not None:
        say(f"{output / ONNX_FILE}: {len(network) / 1e6:.1f} MB, checked with onnxruntime")
    return path


def again(folder: pathlib.Path, *, onnx: bool = False) -> pathlib.Path:
    """Re-creates an exported program with the installed version of JAX, from the files in its folder.

    The model card is not changed, and neither is network.onnx without `onnx`.

    Raises:
      InputError: the folder is not one that `export` of this version wrote, or is damaged.
    """
    record = exported_programs.read_record(folder)
    rows_mm, columns_mm = record["pixel_mm"]
    grid, platforms = (rows_mm, columns_mm), record["platforms"]
    return export(folder / RUN_FOLDER, folder, side=record["side"], pixel_mm=grid, platforms=platforms, onnx=onnx)


def trace_program(
    trained: TrainedRun, programs: Sequence[SliceProgram], grid: Geometry, platforms: Sequence[str]
) -> jax.export.Exported:
    """Traces a run's program, from each fold's `Method.slice_program`, for any number of slices of one grid."""
    with xla_convolutions_only():  # the C++ convolutions of this machine cannot be exported
        depth = jax.export.symbolic_shape("depth")
        hu = jax.ShapeDtypeStruct((*depth, grid.height, grid.width), jnp.int16)
        return jax.export.export(jax.jit(_make_program(trained, programs, grid)), platforms=list(platforms))(hu)


def _make_program(
    trained: TrainedRun, programs: Sequence[SliceProgram], grid: Geometry
) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
    closing, opening = trained_runs.kernel_sides_px(trained, trained.post, grid)
    threshold = jnp.array([trained.post.threshold], jnp.float32)

    spacing_mm = jnp.array([trained.slice_spacing_mm, grid.row_mm, grid.column_mm], jnp.float32)

    def predict_group(slices: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hu, inside = slices
        probability = functools.reduce(operator.add, [program(hu) for program in programs]) / len(programs)
        probability = jnp.where(inside, probability, 0.0)
        mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
        return mask.astype(jnp.uint8), probability

    def program(hu: jax.Array) -> tuple[jax.Array, ...]:
        depth, *plane = hu.shape
        groups = (depth + DEPTH_STEP - 1) // DEPTH_STEP
        padding = ((0, groups * DEPTH_STEP - depth), (0, 0), (0, 0))
        padded = jnp.pad(hu, padding, constant_values=AIR_HU)
        inside = jnp.ones(padded.shape, bool)
        if trained.config.predict.inside_skull:  # of slices as far apart as those of the training scans
            inside, _ = skull.inside_skull(padded, spacing_mm)
        grouped = (padded.reshape(groups, DEPTH_STEP, *plane), inside.reshape(groups, DEPTH_STEP, *plane))
        outputs = jax.lax.map(predict_group, grouped)
        return tuple(output.reshape(groups * DEPTH_STEP, *plane)[:depth] for output in outputs)

    return program
