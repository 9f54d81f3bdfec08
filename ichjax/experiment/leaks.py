"""Refuse to test a network on scans that it has been trained on before: in pre-training, in the run that its weights
come from, or among labeled scans that join its training."""

import pathlib
from collections.abc import Iterator, Sequence

from ichjax import hosts
from ichjax.data import leak_guard
from ichjax.data.leak_guard import SeenScans
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.experiment import seen_scans
from ichjax.files import CONFIG_FILE, read_json
from ichjax.train import initial

MAX_ORIGINS = 32  # of weights that come from weights: more is a circle


def refuse_seen(
    init_from: str, tests: Sequence[CachedScan], others: SeenScans | None, *, fold: int, method_dir: pathlib.Path
) -> None:
    """Refuses a fold whose test scans were seen; records `others` in `method_dir`, for runs that start from this one.

    Args:
      init_from: `config.init_from`, whose own origins are followed.
      tests: the scans of the fold's test part.
      others: further scans that join the training.
      fold: its number.
      method_dir: of the method's folds.

    Raises:
      InputError: a test scan was seen, or it cannot be told whether one was.
    """
    origins = list(_origins(init_from, fold))
    records = [others, *(leak_guard.find(weights) for weights in origins)]
    if any(records):
        identities = {scan.number: leak_guard.identify(scan.volume, file_name=scan.volume.name) for scan in tests}
        for seen in filter(None, records):
            leak_guard.refuse_seen(seen, identities, fold=fold)
    for weights in origins:
        _refuse_trained(weights, tests, fold)
    if others and hosts.is_first():
        method_dir.mkdir(parents=True, exist_ok=True)
        leak_guard.write(others, method_dir / leak_guard.SEEN_FILE)


def _origins(init_from: str, fold: int) -> Iterator[pathlib.Path]:
    """The weights that a fold starts from, those that these started from, and so on."""
    run = None
    for _ in range(MAX_ORIGINS):
        if not init_from:
            return
        try:
            weights = initial.find(pathlib.Path(init_from), fold).resolve()
        except InputError as error:
            why = f"{run} started from it, and it cannot be told which scans were seen there: " if run else ""
            raise InputError(f"{why}{error}") from error
        yield weights
        run = _run_of(weights, CONFIG_FILE)
        name, _, number = weights.parent.name.partition("_")
        fold = int(number) if name == "fold" and number.isdecimal() else fold
        init_from = read_json(run / CONFIG_FILE).get("init_from", "") if run else ""
    raise InputError(
        f"{init_from}: started from weights that started from it; expected config.init_from of another run"
    )


def _run_of(weights: pathlib.Path, file_name: str) -> pathlib.Path | None:
    """The run of a fold's weights, by a file in it; None for weights that are in no run."""
    inside = weights.parents[:4]  # RUN/fold_K/weights or RUN/baselines/METHOD/fold_K/weights
    return next((folder for folder in inside if (folder / file_name).is_file()), None)


def _refuse_trained(weights: pathlib.Path, tests: Sequence[CachedScan], fold: int) -> None:
    """InputError if the fold of a run that weights come from was trained, or its epoch selected, on a test scan."""
    run = _run_of(weights, seen_scans.SCANS_FILE)
    if run is None:
        return
    theirs, name = seen_scans.read(run), weights.parent.name
    leaks = []
    for scan in tests:
        tested_by = theirs.by_digest.get(scan.hu_digest)
        if tested_by is not None and name not in {f"fold_{k}" for k in tested_by}:
            leaks.append(scan.number)
    if leaks:
        raise InputError(
            f"fold {fold}: {len(leaks)} of its {len(tests)} test scans were trained or selected on in {weights.parent} "
            f"(subjects {leak_guard.listed(sorted(leaks))}), which its weights come from; expected a run with the same "
            "folds, of which this one is finished, or other scans"
        )
