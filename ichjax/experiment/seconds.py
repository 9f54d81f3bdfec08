"""How long training a fold and predicting each scan take, for the report; results.json is reproducible without it."""

import contextlib
import pathlib
import time
from collections.abc import Iterator

from ichjax import hosts
from ichjax.files import SECONDS_FILE, read_json, write_json
from ichjax.methods.base import MODEL_FILE


@contextlib.contextmanager
def of_training(folder: pathlib.Path) -> Iterator[None]:
    """Measures the training of a fold in its folder, unless it is finished or an earlier run has begun it."""
    begun = any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))
    started = time.perf_counter()
    yield
    if not begun and (folder / MODEL_FILE).is_file():
        _add(folder, "fit_s", time.perf_counter() - started)


@contextlib.contextmanager
def of_prediction(folder: pathlib.Path) -> Iterator[None]:
    """Measures the prediction of a scan by a fold; its result must be ready at the end of the block."""
    started = time.perf_counter()
    yield
    _add(folder, "predict_s", time.perf_counter() - started)


def _add(folder: pathlib.Path, key: str, seconds: float) -> None:
    if hosts.is_first():
        path = folder / SECONDS_FILE
        record = read_json(path) if path.is_file() else {}
        record.setdefault(key, []).append(round(seconds, 3))
        write_json(path, record)
