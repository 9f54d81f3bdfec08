"""The `convert` command: DICOM series to NIfTI without anything of their headers but the geometry."""

import contextlib
import pathlib
from collections.abc import Sequence

import numpy as np

from ichjax import __version__
from ichjax.console import say
from ichjax.errors import InputError, only_input_errors
from ichjax.files import claim, read_json, write_json
from ichjax.inference import scan_warnings
from ichjax.inference.discover import WORLD, Source, find_sources
from ichjax.scan import nifti, world_grid
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume


def convert(
    inputs: Sequence[pathlib.Path], output: pathlib.Path, *, series: int | None = None, overwrite: bool = False
) -> list[str]:
    """Writes OUTPUT/NAME.nii.gz and NAME.json for every DICOM study that the inputs name.

    The NIfTI holds HU on the files' own pixels and slices. Where these are tilted or unevenly spaced no affine is
    exact: NAME_world.nii.gz is then the same scan on a straight, even grid along the patient's axes, by linear
    interpolation. The JSON holds the geometry, every slice's place and what decided about the series: no name, no
    date, no UID. The face is still in the pixels.

    Args:
      inputs: as `find_sources` takes them; NIfTI files in folders are left alone.
      output: made where it is missing.
      series: as for `find_sources`.
      overwrite: write again what is there already.

    Returns:
      one sentence for each study that could not be converted; the others are done all the same.

    Raises:
      InputError: another process is writing to the output.
    """
    sources, problems = find_sources(inputs, series=series, twin=WORLD, only_dicom=True)
    for problem in problems:
        say(f"left out: {problem}")
    written = 0
    with claim(output) if sources else contextlib.nullcontext():
        for source in sources:
            try:
                with only_input_errors(str(source.path), "converted", but=(OSError,)):
                    written += _convert_one(source, output, overwrite=overwrite)
            except InputError as error:
                problems.append(str(error))
                say(f"left out: {error}")
    if written:
        say("names, dates and UIDs of the headers are gone; the face is still in the pixels, and files are named after")
        say("their folders: share them as you would a photograph with a name on it")
    return problems


def _convert_one(source: Source, output: pathlib.Path, *, overwrite: bool) -> bool:
    """Whether one study was written; its JSON is written last, so with it the study is whole."""
    about = output / f"{source.name}.json"
    volume = source.read()
    if about.exists() and not overwrite:
        if read_json(about).get("scan_digest") != volumes.scan_digest(volume):
            raise InputError(f"{about}: is of another scan; expected another --output, or --overwrite")
        say(f"{source.name}: is there already")
        return False
    scan, world = (output / f"{source.name}{twin}.nii.gz" for twin in ("", WORLD))
    if scan.exists() and not overwrite and not _holds(scan, volume):  # no JSON: interrupted, or none of ours
        raise InputError(f"{scan}: is another scan; expected another --output, or --overwrite")
    geometry = world_grid.describe_geometry(volume)
    about.unlink(missing_ok=True)
    if geometry == "exact":
        world.unlink(missing_ok=True)
    else:
        grid = world_grid.world_grid(volume)
        nifti.write_grid(world, world_grid.resample(volume, None, grid)[0], grid.affine)
    nifti.write_nifti(scan, volume.hu, volume)
    description = describe(volume, source)
    write_json(about, description)
    tilt = f", tilted by {tilt_degrees(volume):.1f} degrees" if tilt_degrees(volume) >= 0.1 else ""
    noted = "".join(f"; {warning}" for warning in description["warnings"])
    beside = f"; {world.name}: on a straight grid" if geometry != "exact" else ""
    say(f"{source.name}: {len(volume.hu)} slices{tilt}, geometry {geometry}{beside}{noted} -> {scan}")
    return True


def _holds(path: pathlib.Path, volume: Volume) -> bool:
    try:
        return volumes.hu_digest(nifti.read_nifti(path)) == volumes.hu_digest(volume)
    except InputError:
        return False


def tilt_degrees(volume: Volume) -> float:
    """Between the slices' normal and the body's axis."""
    return float(np.degrees(np.arccos(np.clip(abs(volume.normal[2]), 0.0, 1.0))))


def describe(volume: Volume, source: Source) -> dict:
    """A scan's geometry, ready for JSON; places in RAS mm.

    'slice_origins_mm' are the centres of the pixels that the NIfTI's index (0, 0) of each slice means, in the order
    of its third axis.
    """
    traits = source.series.traits
    directions = volume.file_affine[:3, :2] / np.linalg.norm(volume.file_affine[:3, :2], axis=0)
    return {
        "geometry": world_grid.describe_geometry(volume),
        "tilt_degrees": round(tilt_degrees(volume), 2),
        "slices": len(volume.hu),
        "pixel_mm": volume.pixel_mm,
        "gap_mm": round(volume.spacing_mm[0], 3),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "slice_origins_mm": np.round(volume.file_origins_mm(), 3).tolist(),
        "first_axis": np.round(directions[:, 0], 6).tolist(),
        "second_axis": np.round(directions[:, 1], 6).tolist(),
        "kernel": traits.kernel,
        "contrast": traits.contrast,
        "remarks": traits.drawbacks(),
        "warnings": scan_warnings.warnings(volume),
        "lowest_hu": int(volume.hu.min()),
        "highest_hu": int(volume.hu.max()),
        "scan_digest": volumes.scan_digest(volume),
        "made_by": f"ichjax {__version__}",
    }
