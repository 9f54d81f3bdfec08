"""What `stats` prints of a data set without masks: the RSNA 2019 layout and CQ500."""

import pathlib

import numpy as np
from tqdm import tqdm

from ichjax.data import cq500, cq500_index, rsna, rsna_index
from ichjax.data.cq500_reads import FURTHER_FINDINGS
from ichjax.errors import InputError
from ichjax.report.tables.detection import DetectionSet, detection_text


def print_rsna(root: pathlib.Path) -> list[str]:
    """Prints the table of an RSNA 2019 set, from its index; returns a sentence for each file that is not used.

    Raises:
      InputError: see `rsna_index.open_index`.
    """
    index = rsna_index.open_index(root)
    slices, scans = index.slices, index.scans
    known, labels = np.asarray(slices["known"]), np.asarray(slices["labels"])
    of_scan = np.logical_or.reduceat(labels, scans["first"])
    known_scans = np.logical_or.reduceat(known, scans["first"])
    of_subject = rsna.subject_labels(index)
    known_subjects = len(np.unique(scans["subject"][known_scans]))
    first = slices[scans["first"]]
    table = DetectionSet(
        title="RSNA 2019 layout",
        units={
            "subjects": (len(of_subject), known_subjects, of_subject),
            "scans": (len(scans), int(known_scans.sum()), of_scan),
            "slices": (len(slices), int(known.sum()), labels),
        },
        findings={},
        slices=scans["slices"],
        spacing_mm=rsna.slice_spacing_mm(index),
        pixel_mm=first["pixel_mm"][:, 1],
        matrices=list(zip(first["rows"].tolist(), first["columns"].tolist(), strict=True)),
        skipped=len(index.skipped),
    )
    problems = [f"{name}: {reason}" for name, reason in index.skipped.items()]
    return _print(table, problems, index.notes)


def print_cq500(root: pathlib.Path) -> list[str]:
    """Prints the table of CQ500 from its index; returns a sentence for each scan that is not used.

    Raises:
      InputError: see `cq500.read_dataset`.
    """
    dataset = cq500.read_dataset(root)
    problems = [f"{name}: {reason}" for name, reason in dataset.skipped.items()]
    summaries: list[cq500_index.ScanSummary] = []
    for scan in tqdm(dataset.scans, "reading scans", unit="scan", leave=False, disable=None):
        try:
            summaries.append(cq500_index.summarize(scan))
        except InputError as error:
            problems.append(str(error))
    labels = np.stack([scan.reads.labels for scan in dataset.scans])
    findings = {}
    for name in FURTHER_FINDINGS:
        values = [scan.reads.findings[name] for scan in dataset.scans if name in scan.reads.findings]
        findings[name] = (sum(values), len(values))
    table = DetectionSet(
        title="CQ500",
        units={"scans": (len(labels) + len(dataset.skipped), len(labels), labels)},
        findings=findings,
        slices=np.array([one.shape[0] for one in summaries]),
        spacing_mm=np.array([one.spacing_mm[0] for one in summaries]),
        pixel_mm=np.array([one.spacing_mm[2] for one in summaries]),
        matrices=[one.shape[1:] for one in summaries],
        skipped=len(problems),
    )
    return _print(table, problems, dataset.notes)


def _print(table: DetectionSet, problems: list[str], notes: tuple[str, ...]) -> list[str]:
    for problem in problems:
        print(f"skipped: {problem}")
    print(detection_text(table, notes))
    return problems
