"""Load an exported program, and keep what is needed to re-create it.

JAX guarantees that a program can be loaded for six months after its export (docs.jax.dev, 'Compatibility guarantees'),
so the configuration and the parameters of its folds are stored with it.
"""

import datetime
import pathlib
import shutil
from collections.abc import Callable, Iterable
from typing import cast

import jax

from ichjax.errors import InputError, first_line
from ichjax.experiment import tuning
from ichjax.files import CONFIG_FILE, read_json, write_json
from ichjax.inference.records import ProgramRecord
from ichjax.methods.base import MODEL_FILE, WEIGHTS_FOLDER

PROGRAM_FILE, RECORD_FILE, CARD_FILE = "model.jaxexport", "model.json", "model_card.md"
RUN_FOLDER = "run"  # configuration and parameters
GUARANTEED_DAYS = 180


def today() -> datetime.date:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date()


def loads_until() -> datetime.date:
    """The last day on which a program exported today is guaranteed to load."""
    return today() + datetime.timedelta(days=GUARANTEED_DAYS)


def keep_run(workdir: pathlib.Path, output: pathlib.Path, folds: Iterable[int]) -> None:
    """Copies the configuration and the parameters of some folds to OUTPUT/run, without scans, scores or data paths."""
    if workdir.resolve() == (output / RUN_FOLDER).resolve():
        return
    run = output / RUN_FOLDER
    shutil.rmtree(run, ignore_errors=True)
    config = read_json(workdir / CONFIG_FILE)
    if isinstance(config.get("data"), dict):
        config["data"]["root"] = ""
    for fold in folds:
        source, target = (folder / f"fold_{fold}" for folder in (workdir, run))
        shutil.copytree(source / WEIGHTS_FOLDER, target / WEIGHTS_FOLDER)
        for name in (MODEL_FILE, tuning.POST_FILE):
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
    write_json(run / CONFIG_FILE, config)


def read_record(folder: pathlib.Path) -> ProgramRecord:
    """Reads model.json of an exported program's folder.

    Raises:
      InputError: it is missing or damaged, or was written by a version that did not store the run.
    """
    record = read_json(folder / RECORD_FILE)
    if missing := {"side", "pixel_mm", "platforms", "made", "loads_until", "versions"} - set(record):
        raise InputError(
            f"{folder / RECORD_FILE}: has no {min(missing)!r}; expected what `export` of this version writes"
        )
    return cast(ProgramRecord, record)


def load(folder: str | pathlib.Path) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Loads an exported program.

    Args:
      folder: that `export` wrote.

    Returns:
      program(hu int16 [D, H, W]) -> (mask uint8 [D, H, W], probability float32 [D, H, W]).

    Raises:
      InputError: it cannot be loaded; the message says how old it is and how to re-create it.
    """
    folder = pathlib.Path(folder)
    record = read_record(folder)
    try:
        return jax.export.deserialize(bytearray((folder / PROGRAM_FILE).read_bytes())).call
    except FileNotFoundError as error:
        raise InputError(f"{folder}: has no {PROGRAM_FILE}; expected the folder that `export` wrote") from error
    except Exception as error:  # of the program's format, of any kind
        late = today().isoformat() > record["loads_until"]
        age = f"{'expired' if late else 'damaged, or of another version of JAX'} ({first_line(error)})"
        made = f"{record['made']} with jax {record['versions']['jax']} (guaranteed until {record['loads_until']})"
        raise InputError(
            f"{folder / PROGRAM_FILE}: cannot be loaded with jax {jax.__version__}: {age}; it was exported on {made}; "
            f"expected a newer one: re-create it with `export --again={folder}`"
        ) from error
