"""The `stats` command: the paper's tables 4 and 5 of a data set, and what is irregular in it."""

from ichjax.config import Config
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.experiment import setup
from ichjax.report.tables import cohort


def print_stats(config: Config) -> list[str]:
    """Reads all scans of a data set and prints its tables and notes.

    Returns:
      One sentence for each scan that could not be read.

    Raises:
      InputError: the data set cannot be read.
    """
    dataset = setup.open_dataset(config)
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
