"""Which folds of a run have not seen a scan in training, by the digest of its HU, whatever file it comes in."""

import dataclasses
import pathlib
from collections.abc import Mapping

from ichjax.errors import InputError
from ichjax.files import SPLITS_FILE, read_json, write_json
from ichjax.scan.volume import Volume, hu_digest

SCANS_FILE = "scans.json"


@dataclasses.dataclass(frozen=True)
class TestFolds:
    """The folds in which each of a run's own scans is a test scan.

    Attributes:
      by_digest: {`hu_digest` of a scan: folds whose networks have not seen it}.
      subjects: {`hu_digest` of a scan: number of its subject}.
    """

    by_digest: Mapping[str, tuple[int, ...]]
    subjects: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def of(self, volume: Volume) -> tuple[int, ...] | None:
        """The folds in which a scan is a test scan; None for a scan that is not one of the run's."""
        return self.by_digest.get(hu_digest(volume)) if self.by_digest else None

    def subject(self, volume: Volume) -> int | None:
        """The number of a scan's subject; None for a scan that is not one of the run's."""
        return self.subjects.get(hu_digest(volume)) if self.subjects else None


def write(workdir: pathlib.Path, subjects: Mapping[str, int], *, begun: bool) -> None:
    """Records a run's own scans.

    Args:
      workdir: the run.
      subjects: {`hu_digest` of a scan: number of its subject}.
      begun: whether a fold has begun; then scans that are recorded stay, though they cannot be read today.
    """
    path = workdir / SCANS_FILE
    before = read_json(path).get("subjects", {}) if begun and path.is_file() else {}
    write_json(path, {"subjects": {**before, **subjects}})


def read(workdir: pathlib.Path) -> TestFolds:
    """Reads which fold tests which scan; nothing for a run without a record of its scans.

    Raises:
      InputError: scans.json or splits.json is damaged.
    """
    if not (workdir / SCANS_FILE).is_file():
        return TestFolds({})
    subjects = read_json(workdir / SCANS_FILE).get("subjects", {})
    folds = read_json(workdir / SPLITS_FILE).get("folds", [])  # none where a split leaks
    try:
        tests = {number: k for k, fold in enumerate(folds) for number in fold["test"]}
        by_digest = {key: (tests[number],) if number in tests else () for key, number in subjects.items()}
        return TestFolds(by_digest, subjects)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{workdir}: scans.json and splits.json are damaged; expected the subject of each scan and the test "
            "subjects of each fold"
        ) from error
