"""The `convert` command: DICOM series to NIfTI, keeping nothing of their headers but the geometry."""

import contextlib
import pathlib
from collections.abc import Sequence

import numpy as np

from ichjax import __version__
from ichjax.console import say
from ichjax.dicom.series import Series
from ichjax.errors import InputError, only_input_errors
from ichjax.files import claim, read_json, write_json
from ichjax.inference import provenance, scan_warnings
from ichjax.inference.discover import WORLD_SUFFIX, Source, find_sources
from ichjax.inference.provenance import Result
from ichjax.inference.records import ScanRecord
from ichjax.metrics import calibration
from ichjax.scan import nifti, world_grid
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume


def convert(
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    *,
    series: int | None = None,
    overwrite: bool = False,
    with_paths: bool = False,
) -> list[str]:
    """Writes OUTPUT/NAME.nii.gz and NAME.json for every DICOM study in the inputs.

    The NIfTI holds HU on the series' own pixels and slices. Where these are tilted or unevenly spaced no affine is
    exact, so NAME_world.nii.gz holds the scan on an even grid along the patient's axes, by linear interpolation. The
    JSON holds the geometry, the position of every slice, what the series was selected by, and its source by numbers and
    a keyed hash: no name, date or UID. The face is still in the pixels.

    Args:
      inputs: as for `find_sources`; NIfTI files in folders are ignored.
      output: created if missing.
      series: as for `find_sources`.
      overwrite: convert again what is already done.
      with_paths: also write paths, series' descriptions and names of files that were left out.

    Returns:
      One sentence for each study that could not be converted; the others are done.

    Raises:
      InputError: another process is writing to the output.
    """
    sources, problems = find_sources(inputs, series=series, suffix=WORLD_SUFFIX, only_dicom=True, with_paths=with_paths)
    for problem in problems:
        say(f"skipped: {problem}")
    converted = 0
    with claim(output) if sources else contextlib.nullcontext():
        names = provenance.name_sources(sources, output, _read_results(output), suffix=WORLD_SUFFIX)
        for source in names.sources:
            try:
                with only_input_errors(str(source.path), "converted", but=(OSError,)):
                    volume = source.read()
                    if (settled := names.settle(source, volumes.scan_digest(volume))) is None:
                        say(f"{source.name}: the same series as one before, converted once")
                        continue
                    converted += _convert_one(settled, volume, output, overwrite=overwrite)
            except InputError as error:
                problems.append(str(error))
                say(f"skipped: {error}")
    if converted:
        say("names, dates and UIDs of the headers are removed, but the face is still in the pixels and files are named")
        say("after their folders: share them as you would a photograph with a name on it")
    return problems


def _read_results(output: pathlib.Path) -> dict[str, Result]:
    """{name: what the folder holds} for the converted series in an output."""
    results = {}
    for path in sorted(output.glob("[!.]*.json")):
        with contextlib.suppress(InputError, KeyError, TypeError):  # another program's file
            record = read_json(path)
            source_hash = record["source"]["hash"] if "source" in record else ""
            results[path.stem] = Result(str(source_hash), record["scan_digest"])
    return results


def _convert_one(source: Source, volume: Volume, output: pathlib.Path, *, overwrite: bool) -> bool:
    """Converts a study unless that is already done; the JSON is written last, so it marks a complete conversion."""
    json_path = output / f"{source.name}.json"
    assert source.series is not None  # of DICOM sources only those with a `problem` lack one, and `read` raises it
    described = provenance.describe_source(source, slices=len(volume.hu), with_paths=source.with_paths)
    if json_path.exists() and not overwrite:
        existing = read_json(json_path)
        if existing.get("scan_digest") != volumes.scan_digest(volume):
            raise InputError(f"{json_path}: is of another scan; expected another --output, or --overwrite")
        if provenance.is_outdated(existing.get("source"), described):
            write_json(json_path, {**existing, "source": described})
        say(f"{source.name}: already done, kept")
        return False
    scan_path, world_path = (output / f"{source.name}{suffix}.nii.gz" for suffix in ("", WORLD_SUFFIX))
    if scan_path.exists() and not overwrite and not _has_same_hu(scan_path, volume):  # no JSON: interrupted, or foreign
        raise InputError(f"{scan_path}: is another scan; expected another --output, or --overwrite")
    geometry = world_grid.describe_geometry(volume)
    json_path.unlink(missing_ok=True)
    if geometry == "exact":
        world_path.unlink(missing_ok=True)
    else:
        grid = world_grid.world_grid(volume)
        nifti.write_grid(world_path, world_grid.resample(volume, None, grid)[0], grid.affine)
    nifti.write_nifti(scan_path, volume.hu, volume)
    record = describe(volume, source.series)
    if source.choice is not None:
        record["series"] = source.choice
    write_json(json_path, {**record, "source": described})
    tilt = f", tilted by {tilt_degrees(volume):.1f} degrees" if tilt_degrees(volume) >= 0.1 else ""
    resampled = f"; resampled to an even grid: {world_path.name}" if geometry != "exact" else ""
    warnings = "".join(f"; {warning}" for warning in record["warnings"])
    say(f"{source.name}: {len(volume.hu)} slices{tilt}, geometry {geometry}{resampled}{warnings} -> {scan_path}")
    return True


def _has_same_hu(path: pathlib.Path, volume: Volume) -> bool:
    try:
        return volumes.hu_digest(nifti.read_nifti(path)) == volumes.hu_digest(volume)
    except InputError:
        return False


def tilt_degrees(volume: Volume) -> float:
    """The angle between the slices' normal and the patient's head-foot axis."""
    return float(np.degrees(np.arccos(np.clip(abs(volume.normal[2]), 0.0, 1.0))))


def describe(volume: Volume, series: Series) -> ScanRecord:
    """A scan's geometry, ready for JSON; positions in RAS mm.

    'slice_origins_mm' are the centers of the pixels with index (0, 0) in each slice of the NIfTI, along its third axis.
    """
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
        "kernel": series.traits.kernel,
        "contrast": series.traits.has_contrast,
        "remarks": series.traits.drawbacks(),
        "warnings": [*volume.notes, *scan_warnings.find_warnings(volume, calibration.intracranial(volume))],
        "lowest_hu": int(volume.hu.min()),
        "highest_hu": int(volume.hu.max()),
        "scan_digest": volumes.scan_digest(volume),
        "made_by": f"ichjax {__version__}",
    }
