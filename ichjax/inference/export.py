"""A trained run as one file that JAX alone can run: from HU to mask and probability, weights inside.

program = jax.export.deserialize(open("model.jaxexport", "rb").read())
mask, probability = program.call(hu)    # int16 [D, H, W]: slices upwards, rows to the back, columns to the left
"""

import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.console import say
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.experiment import setup
from ichjax.files import claim, write_json, write_text
from ichjax.inference import model as trained_runs
from ichjax.inference import model_card
from ichjax.inference.model import TrainedRun
from ichjax.methods.slices import DEPTH_STEP
from ichjax.models.convolution import xla_convolutions_only
from ichjax.ops import metrics
from ichjax.scan.volume import AIR_HU

PROGRAM, ABOUT, CARD = "model.jaxexport", "model.json", "model_card.md"
PIXEL_MM = 0.45  # of a head CT, for a method that does not depend on it
PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    workdir: pathlib.Path,
    output: pathlib.Path,
    *,
    side: int = 512,
    pixel_mm: float | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> pathlib.Path:
    """Writes OUTPUT/model.jaxexport, model.json (what goes in and comes out) and model_card.md.

    Args:
      workdir: of a run of the network; its finished folds are averaged.
      output: a folder, made where it is missing.
      side: rows and columns of the slices that the program takes; their number is free.
      pixel_mm: their size; None takes that of the training's scans.
      platforms: of `PLATFORMS`.

    Returns:
      the program's path.

    Raises:
      InputError: the run cannot be read or is not of a network, or an argument is out of range.
    """
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise InputError(f"--platforms names {unknown[0]!r}; expected some of {', '.join(PLATFORMS)}")
    trained = trained_runs.load_run(workdir, whole_slices=setup.load_config(workdir).predict.whole_slices)
    rows_mm, columns_mm = (pixel_mm, pixel_mm) if pixel_mm else trained.pixel_mm or (PIXEL_MM, PIXEL_MM)
    own = Geometry(side, side, rows_mm, columns_mm)
    if not 32 <= side <= 2048 or not 0.1 <= rows_mm <= 10:
        raise InputError(f"slices of {side} x {side} pixels of {rows_mm} mm; expected 32 to 2048, of 0.1 to 10 mm")
    programs = [trained.method.slice_program(params, own) for params in trained.params]
    if None in programs:
        raise InputError(
            f"{workdir}: is a run of the method {trained.method_name!r} ({trained.method.title}), which cannot be "
            "exported; expected a network that predicts each slice for itself"
        )
    exported = make(trained, programs, own, platforms)
    about = {
        "takes": f"int16 [D, {side}, {side}], HU; slices to the head, rows to the back, columns to the patient's left",
        "gives": f"uint8 [D, {side}, {side}], the mask of 0 and 1; float32 [D, {side}, {side}], the probability",
        "pixel_mm": [rows_mm, columns_mm],
        "platforms": list(platforms),
        "calling_convention_version": exported.calling_convention_version,
        "threshold": trained.post.threshold,
        "threshold_chosen_on": trained.post.chosen_on,
        "closing_px": trained_runs.kernels(trained, own)[0],
        "opening_px": trained_runs.kernels(trained, own)[1],
        "folds": list(trained.folds),
        "config_digest": trained.digest,
        "use": "research use only",
    }
    with claim(output):
        aside = output / f".{PROGRAM}"
        aside.write_bytes(exported.serialize())
        aside.replace(output / PROGRAM)
        write_json(output / ABOUT, about)
        write_text(output / CARD, model_card.write(workdir, about, method=trained.method.card))
    say(f"{output / PROGRAM}: {(output / PROGRAM).stat().st_size / 1e6:.1f} MB, for {', '.join(platforms)}")
    return output / PROGRAM


def make(
    trained: TrainedRun, programs: Sequence[Callable], own: Geometry, platforms: Sequence[str]
) -> jax.export.Exported:
    """The program of a run, from each fold's `Method.slice_program`: for any number of slices of one grid."""
    with xla_convolutions_only():  # C++ of this machine would not travel
        depth = jax.export.symbolic_shape("depth")
        hu = jax.ShapeDtypeStruct((*depth, own.height, own.width), jnp.int16)
        return jax.export.export(jax.jit(_program(trained, programs, own)), platforms=list(platforms))(hu)


def _program(trained: TrainedRun, programs: Sequence[Callable], own: Geometry) -> Callable:
    closing, opening = trained_runs.kernels(trained, own)
    threshold = np.array([trained.post.threshold], np.float32)

    def few(hu):
        probability = sum(program(hu) for program in programs) / len(programs)
        mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
        return mask.astype(jnp.uint8), probability

    def program(hu):
        depth, *plane = hu.shape
        groups = (depth + DEPTH_STEP - 1) // DEPTH_STEP
        air = ((0, groups * DEPTH_STEP - depth), (0, 0), (0, 0))
        padded = jnp.pad(hu, air, constant_values=AIR_HU).reshape(groups, DEPTH_STEP, *plane)
        found = jax.lax.map(few, padded)
        return tuple(each.reshape(groups * DEPTH_STEP, *plane)[:depth] for each in found)

    return program
