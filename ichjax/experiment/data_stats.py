"""The `stats` command: the paper's tables 4 and 5 of a data set, or its labels where it has no masks."""

from ichjax.config import Config
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.experiment import detection_stats, setup
from ichjax.report.tables import cohort


def print_stats(config: Config) -> list[str]:
    """Reads all scans of a data set and prints its tables and notes; of the RSNA 2019 layout the headers alone.

    Returns:
      One sentence for each scan, or file, that could not be read.

    Raises:
      InputError: the data set cannot be read.
    """
    root = setup.dataset_root(config)
    without_masks = {"rsna": detection_stats.print_rsna, "cq500": detection_stats.print_cq500}
    if layout := datasets.layout_without_masks(root):
        return without_masks[layout](root)
    dataset = datasets.read_dataset(root)
    records, problems, notes = [], [], list(dataset.notes)
    for subject in dataset.subjects:
        try:
            scan = datasets.load_scan(subject)
            records.append(cohort.record(scan))
            notes += scan.notes
        except InputError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"skipped: {problem}")
    if records:
        print(cohort.stats_text(records, setup.gather(notes)))
    return problems
