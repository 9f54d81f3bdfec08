"""The `report` command: scores a finished run again and rewrites its tables, figures and report."""

import pathlib

from ichjax.console import say
from ichjax.experiment import scoring, setup
from ichjax.experiment.crossval import method_folder, write_results
from ichjax.files import RESULTS_FILE, read_json
from ichjax.methods import registry
from ichjax.report.publish import publish


def rebuild(workdir: pathlib.Path, *, prevalence: float | None = None) -> None:
    """The `report` command: scores a work directory again, and rewrites its tables, figures and report.

    Results have the detection at `prevalence`, the share of scans with a hemorrhage, if one is given.

    Raises:
      InputError: the folder holds no run, or no fold of its main method has been tested.
    """
    config = setup.load_config(workdir)
    for name in (config.method, *config.compare_with):
        folder, method = method_folder(workdir, config, name), registry.make(name, config)
        if name != config.method and not setup.fold_folders(folder, scoring.SCORES_FILE):
            say(f"{method.title}: not tested yet, so not in the report")
            continue
        old = folder / RESULTS_FILE
        unreadable = read_json(old).get("left_out_unreadable", []) if old.is_file() else []
        write_results(config, name, method, folder, unreadable=unreadable)
        scoring.add_detection(old, prevalence)
    publish(workdir)
