"""Which of a run's networks have not seen a scan: kept by digest, so that a scan is known in whatever file it comes."""

import dataclasses
import pathlib
from collections.abc import Mapping

from ichjax.errors import InputError
from ichjax.files import SPLITS_FILE, read_json, write_json
from ichjax.scan.volume import Volume, hu_digest

SCANS_FILE = "scans.json"


@dataclasses.dataclass(frozen=True)
class TestFolds:
    """of_digest: {digest of a scan's HU: the folds whose networks have not seen it}."""

    of_digest: Mapping[str, tuple[int, ...]]

    def of(self, volume: Volume) -> tuple[int, ...] | None:
        """The folds in which a scan is a test scan; None where the run has nothing to do with it."""
        return self.of_digest.get(hu_digest(volume)) if self.of_digest else None


def write(workdir: pathlib.Path, subjects: Mapping[str, int]) -> None:
    """Puts a run's own scans on record.

    Args:
      workdir: the run.
      subjects: {`hu_digest` of a scan: number of its subject}.
    """
    write_json(workdir / SCANS_FILE, {"subjects": dict(subjects)})


def read(workdir: pathlib.Path) -> TestFolds:
    """What `write` left and the run's folds say; nothing of a run that has none on record.

    Raises:
      InputError: one of the two files is damaged.
    """
    if not (workdir / SCANS_FILE).is_file():
        return TestFolds({})
    subjects = read_json(workdir / SCANS_FILE).get("subjects")
    folds = read_json(workdir / SPLITS_FILE).get("folds", [])  # none where a split leaks
    try:
        tests = {number: k for k, fold in enumerate(folds) for number in fold["test"]}
        return TestFolds({key: (tests[number],) if number in tests else () for key, number in subjects.items()})
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{workdir}: scans.json and splits.json do not say which scan is tested where") from error
