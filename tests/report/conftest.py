"""A small work directory of a cross-validation on a data set of synthetic scans."""

import dataclasses
import json
import pathlib

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti
from ichjax.metrics import protocol
from ichjax.metrics.aggregate import secondary_metrics
from ichjax.metrics.per_scan import measure_scan
from ichjax.report.figures import case as cases
from ichjax.report.workdir import read_run
from ichjax.scan import nifti
from tests.expected import SLICE_RULE_MM2

SHAPE = (5, 20, 24)  # D, H, W
THRESHOLDS = (0.5, 0.9)
NASTY = "<script>alert('x')</script> & \"quotes\" $x^2$"
# On disk: x to the right, y to the front, slices to the head, so that reading flips both in-plane axes.
AFFINE = np.array([[1.5, 0, 0, -18], [0, 1.25, 0, -12.5], [0, 0, 5, 0], [0, 0, 0, 1]])


@dataclasses.dataclass(frozen=True)
class Made:
    """The fixture's content: masks {number: bool [D, H, W]} in a Volume's orientation, the main method's results, and a
    string that must be escaped wherever data are shown."""

    workdir: pathlib.Path
    root: pathlib.Path
    truth: dict[int, np.ndarray]
    prediction: dict[int, np.ndarray]
    results: dict
    nasty: str


def boxes(shape, *corners):
    """bool [D, H, W] of boxes (d0, d1, y0, y1, x0, x1)."""
    mask = np.zeros(shape, dtype=bool)
    for d0, d1, y0, y1, x0, x1 in corners:
        mask[d0:d1, y0:y1, x0:x1] = True
    return mask


TRUTH = {
    49: boxes(SHAPE, (1, 3, 6, 11, 6, 12)),
    50: boxes(SHAPE, (2, 3, 8, 14, 12, 19)),
    51: boxes(SHAPE),
    52: boxes(SHAPE, (0, 2, 7, 9, 7, 9)),
    53: boxes(SHAPE),
}
PREDICTION = {
    49: boxes(SHAPE, (1, 3, 6, 11, 6, 12)),
    50: boxes(SHAPE, (2, 3, 8, 14, 14, 19), (4, 5, 5, 7, 5, 7)),
    51: boxes(SHAPE, (3, 4, 5, 15, 5, 15)),
    52: boxes(SHAPE),
    53: boxes(SHAPE),
}
AGES = {49: "30", 50: "0.0027", 51: "17", 52: "18", 53: ""}


def head(seed):
    """int16 [D, H, W], a disc of brain in a ring of bone in air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    radius = np.hypot((y - 9.5) / 9, (x - 11.5) / 11)
    plane = np.where(radius < 0.85, 35, np.where(radius < 1.0, 900, -1000))
    return (plane + rng.normal(0, 4, SHAPE)).astype(np.int16)


def to_disk(array):
    """[D, H, W] to (x, y, slice) of `AFFINE`."""
    return np.ascontiguousarray(array.transpose(2, 1, 0)[::-1, ::-1])


def write_dataset(root):
    for folder in ("ct_scans", "masks"):
        (root / folder).mkdir(parents=True)
    rows = ["PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
            "No_Hemorrhage,Fracture_Yes_No"]  # fmt: skip
    types = "Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural"
    people = [f'Patient Number,"Age\n(years)",Gender,Condition on file,{types},Fracture (yes 1/no 0),Note1']
    for number, truth in TRUTH.items():
        nib.save(nib.Nifti1Image(to_disk(head(number)), AFFINE), root / "ct_scans" / f"{number:03d}.nii")
        nib.save(nib.Nifti1Image(to_disk(truth.astype(np.uint8)), AFFINE), root / "masks" / f"{number:03d}.nii")
        for d, positive in enumerate(truth.any(axis=(1, 2))):
            flags = "1,,,,1,," if positive else ",,,,,1,"
            rows.append(f"{number},{d + 1},{flags}")
        people.append(f"{number},{AGES[number]},Male,,,,,,,,")
    (root / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join(rows) + "\n")
    (root / "Patient_demographics.csv").write_text("\n".join(people) + "\n")


def score(scans, masks, folds, method):
    counts = []
    for scan in scans:
        number, truth = scan.subject.number, scan.mask > 0
        at = np.stack([masks[number], masks[number] & (np.arange(SHAPE[2]) % 2 == 0)])
        counts.append(
            protocol.SubjectCounts(
                subject=number,
                fold=folds[number],
                truth_px=truth.sum(axis=(1, 2)),
                predicted_px=at.sum(axis=(2, 3)),
                overlap_px=(at & truth).sum(axis=(2, 3)),
                pixel_ml=scan.volume.pixel_ml,
                pixel_mm2=float(np.prod(scan.volume.pixel_mm)),
                slice_labels=scan.slice_labels,
                age_years=scan.subject.age_years,
                sex=scan.subject.sex,
            )
        )
    results = protocol.results(counts, thresholds=THRESHOLDS, main=0, chosen_on=NASTY, slice_rule_mm2=SLICE_RULE_MM2)
    record = {"method": method, "config_digest": "abc123", "versions": {"ichjax": "0.1.0"}, "devices": ["cpu: cpu"]}
    return {**record, **results}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A finished work directory with a baseline, and its data set; copy it before changing anything."""
    top = tmp_path_factory.mktemp("evaluate")
    root, workdir = top / "secret-hospital", top / "run"
    write_dataset(root)
    scans = [ct_ich_nifti.load_scan(subject) for subject in ct_ich_nifti.read_dataset(root).subjects]
    folds = {number: number % 2 for number in TRUTH}
    for folder, method, masks in (
        (workdir, "unet", PREDICTION),
        (workdir / "baselines" / "threshold", "threshold", {n: np.roll(m, 2, axis=2) for n, m in PREDICTION.items()}),
    ):
        (folder / "predictions").mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(score(scans, masks, folds, method)))
        for scan in scans:
            number = scan.subject.number
            path = folder / "predictions" / f"{number:03d}.nii.gz"
            nifti.write_nifti(path, masks[number].astype(np.uint8), scan.volume)
    config = {"data": {"root": str(root), "synthetic": True, "note": NASTY}, "train": {"epochs": 3}}
    (workdir / "config.json").write_text(json.dumps(config))
    parts = [
        {"fold": f, "train": [53], "validation": [51], "test": [n for n in folds if folds[n] == f]} for f in (0, 1)
    ]
    splits = {"order": "stratified", "seed": 4, "folds": parts, "notes": ["fold 0: no IPH " + NASTY]}
    (workdir / "splits.json").write_text(json.dumps(splits))
    (workdir / "notes.txt").write_text(f"subject 50: odd {NASTY}\n")
    for fold in (0, 1):
        (workdir / f"fold_{fold}").mkdir()
        lines = [
            {"epoch": e, "loss": 1 / e, "validation_loss": 1.2 / e, "validation_jaccard": 0.1 * e if fold else None}
            for e in (1, 2, 3)
        ]
        text = "".join(json.dumps(line) + "\n" for line in [*lines[:2], lines[1], lines[2]]) + '{"epoch": 4, "lo'
        (workdir / f"fold_{fold}" / "metrics.jsonl").write_text(text)
    return Made(workdir, root, TRUTH, PREDICTION, json.loads((workdir / "results.json").read_text()), NASTY)


@pytest.fixture(scope="module")
def beyond(made):
    """The secondary metrics of the made run, computed from its masks."""
    run = read_run(made.workdir)
    dataset = cases.open_dataset(run)
    shown = [cases.load_case(run, dataset, number) for number in made.truth]
    return secondary_metrics(
        [
            measure_scan(
                case.truth,
                case.prediction,
                case.prediction.astype(np.uint8) * 204,
                case.volume,
                rule_mm2=SLICE_RULE_MM2,
                seams=(8, 4),
            )
            for case in shown
        ]
    )
