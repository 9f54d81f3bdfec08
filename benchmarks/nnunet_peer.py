"""nnU-Net and ichjax, trained on the same folds with the same compute, and scored by the same `evaluate`.

    make nnunet    # or: .venv/bin/python -m benchmarks.nnunet_peer --minutes=10 --output=runs/nnunet

nnU-Net (2d configuration, its own preprocessing, augmentation, loss and optimizer) runs in an environment of its own,
`.venv-nnunet`, for a budget in CPU seconds per fold: minutes x 60 x cores, with its learning rate following the budget,
and a cap on wall-clock time. Its final checkpoint predicts the fold's test subjects with and without mirroring. Then
ichjax runs `crossval` on the same fold; give it a budget by --ours, in which {minutes} stands for --minutes.

nnU-Net has no validation part: it trains on the training and validation subjects of ichjax's fold, so on more subjects.
Its budget does not count preprocessing, loading or building the network.

A finished (method, seed, fold) is kept in OUTPUT/records, and the same command resumes. The table is over all records
in OUTPUT, so seeds can be added later. --publish also writes it to benchmarks/results.
"""

import argparse
import json
import math
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

from benchmarks import nnunet_budget, nnunet_table, process, record
from benchmarks.all import write_page
from benchmarks.contest import OURS
from benchmarks.process import ROOT
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, RESULTS_FILE, claim, read_json, write_json, write_text
from ichjax.phantom import store

NNUNET_DATASET = "Dataset501_ICH"  # as `prepare` names it
PLANS = {  # {--plans: (planner, name of its plans)}
    "default": ("ExperimentPlanner", "nnUNetPlans"),
    "resenc_m": ("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans"),
}
# PyTorch on a CPU: glibc keeps freed memory instead of returning it to the system (twice the speed), and threads that
# wait for others sleep instead of spinning (under other load a step takes 2.2 CPU seconds instead of 4 to 7).
FAST_ON_CPU = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}
MIRRORED = {"nnunet": False, "nnunet_mirrored": True}  # {method: whether it mirrors at test time}


def main(argv: list[str] | None = None) -> int:
    """Runs what is missing, and prints and writes the table; returns the exit status."""
    options = _parse(argv)
    try:
        with claim(options.output):
            nnunet_table.require_settings(options.output, _settings(options))
            for seed in options.seed:
                _run_seed(options, seed)
            _write_table(options)
    except (InputError, RuntimeError) as error:
        print(f"nnunet_peer: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/nnunet"), help="folder of the run")
    parser.add_argument("--config", default="demo", help="configuration of ichjax: data set, folds and method")
    parser.add_argument("--root", default="", help="data set; without it, a synthetic one is made once")
    parser.add_argument("--preset", help="of the synthetic data set; default: the configuration's")
    parser.add_argument("--subjects", type=int, help="of the synthetic data set; default: the configuration's")
    parser.add_argument("--folds", type=numbers, help="such as 0,2; default: all")
    parser.add_argument("--seed", type=numbers, default=[0], help="one or more, such as 0,1: of folds and training")
    parser.add_argument("--only", choices=(OURS, "nnunet"), help="train one of them, such as further seeds of ours")
    parser.add_argument("--minutes", type=float, default=10.0, help="nnU-Net's training budget per fold")
    parser.add_argument("--cap", type=float, default=3.0, help="on a CPU, training may last so many times --minutes")
    parser.add_argument("--batch_size", type=int, help="nnU-Net's; 0: the planned one; default: 2 on a CPU, else 0")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--plans", choices=tuple(PLANS), default="default", help="resenc_m suits a GPU")
    parser.add_argument("--ours", default="", help="--ours='--config.FIELD=VALUE ...': further flags of ichjax")
    parser.add_argument("--nnunet", type=pathlib.Path, default=ROOT / ".venv-nnunet", help="nnU-Net's environment")
    parser.add_argument("--publish", action="store_true", help="write the table to benchmarks/results as well")
    options = parser.parse_args(argv)
    options.output, options.nnunet = options.output.absolute(), options.nnunet.absolute()
    if options.batch_size is None:
        options.batch_size = 2 if options.device == "cpu" else 0
    if not options.minutes > 0 or not options.cap > 0:
        parser.error("--minutes and --cap must be above 0")
    if not (options.nnunet / "bin" / "python").is_file():
        parser.error(f"{options.nnunet}: no environment with nnU-Net; make it by: make .venv-nnunet/.done")
    return options


def _settings(options: argparse.Namespace) -> dict:
    """What all records of an output folder have in common."""
    names = ("config", "root", "preset", "subjects", "minutes", "cap", "batch_size", "device", "plans", "ours")
    data = options.root or store.source_digest()  # of what makes the synthetic scans
    return {name: getattr(options, name) for name in names} | {"cores": _cores(), "data": data}


def _run_seed(options: argparse.Namespace, seed: int) -> None:
    """Runs the missing folds of one seed, by nnU-Net first."""
    flags = our_flags(options, seed)
    folder = options.output / f"seed_{seed}"
    folds = _prepare(options, flags, folder)
    chosen = range(len(folds)) if options.folds is None else options.folds
    if any(not 0 <= fold < len(folds) for fold in chosen):
        raise InputError(f"--folds={options.folds}; expected some of 0 to {len(folds) - 1}")
    for fold in chosen:
        for methods, run in ((tuple(MIRRORED), _run_nnunet), ((OURS,), _run_ours)):
            if options.only == ("nnunet" if methods == (OURS,) else OURS):
                continue
            paths = [nnunet_table.record_path(options.output, method, seed, fold) for method in methods]
            if all(path.is_file() for path in paths):
                print(f"seed {seed}, fold {fold}, {methods[0]}: already done", flush=True)
                continue
            masks = run(options, flags, folder, seed, fold, folds[fold])
            for method, (path, facts) in masks.items():
                evaluated = folder / f"fold_{fold}" / f"evaluated_{method}"
                _evaluate(path, evaluated, flags, method, folder)
                test = subject_numbers(evaluated, folds[fold])
                nnunet_table.write_record(
                    options.output, method, seed, fold, evaluated=evaluated, test=test, facts=facts
                )
                print(f"seed {seed}, fold {fold}, {method}: {facts['cpu_s'] / 60:.1f} CPU minutes", flush=True)


def our_flags(options: argparse.Namespace, seed: int) -> list[str]:
    """The --config flags of every command of ichjax: data set, folds and, where it trains, how."""
    flags = [f"--config={options.config}", f"--config.seed={seed}"]
    if options.root:
        flags.append(f"--config.data.root={options.root}")
    for name in ("preset", "subjects"):
        if (value := getattr(options, name)) is not None:
            flags.append(f"--config.phantom.{name}={value}")
    return flags + shlex.split(options.ours.replace("{minutes}", f"{options.minutes:g}"))


def _prepare(options: argparse.Namespace, flags: Sequence[str], folder: pathlib.Path) -> list[list[str]]:
    """Writes the data set for nnU-Net, then plans and preprocesses it, once; returns the test cases of each fold."""
    raw, preprocessed = (folder / "nnunet" / part / NNUNET_DATASET for part in ("raw", "preprocessed"))
    planner, plans = PLANS[options.plans]
    copied = preprocessed / "splits_final.json"  # copied last
    if not copied.is_file():
        for part in ("raw", "preprocessed"):
            shutil.rmtree(folder / "nnunet" / part, ignore_errors=True)
        preprocessed.parent.mkdir(parents=True)
        process.run(
            process.ours("prepare", *flags, "--to=nnunet", f"--output={raw.parent}"),
            folder / "prepare.log",
            allow=(0, 2),
        )
        command = [str(options.nnunet / "bin" / "nnUNetv2_plan_and_preprocess"), "-d", NNUNET_DATASET[7:10], "-c", "2d"]
        processes = str(min(16, _cores()))
        command += ["-pl", planner, "-np", processes, "-npfp", processes]
        environ = {name: value for name, value in _environment(folder, "cpu").items() if name != "nnUNet_n_proc_DA"}
        cost = process.run(command, folder / "preprocess.log", environ)
        if not (preprocessed / f"{plans}.json").is_file():
            raise RuntimeError(f"{folder / 'preprocess.log'}: there are no plans {plans}")
        shutil.copyfile(raw / copied.name, copied)
        print(f"planned and preprocessed for nnU-Net: {cost['cpu_s']:.0f} CPU seconds", flush=True)
    return test_cases(json.loads(copied.read_text()))


def test_cases(splits: Sequence[Mapping[str, Sequence[str]]]) -> list[list[str]]:
    """The IDs of each fold's test subjects: the 'val' parts of splits_final.json."""
    return [list(split["val"]) for split in splits]


def subject_numbers(evaluated: pathlib.Path, cases: Sequence[str]) -> list[int]:
    """The numbers of subjects, given their IDs, in the data set on which a work directory of `evaluate` was scored."""
    root = read_json(evaluated / CONFIG_FILE)["data"]["root"]
    numbers = {subject.name: subject.number for subject in datasets.read_dataset(root).subjects}
    return [numbers[case] for case in cases]


def _run_nnunet(
    options: argparse.Namespace, flags: Sequence[str], folder: pathlib.Path, seed: int, fold: int, test: Sequence[str]
) -> dict[str, tuple[pathlib.Path, dict]]:
    """Trains nnU-Net and predicts; returns {method: (folder of masks, facts)}."""
    place = folder / f"fold_{fold}"
    environ = _environment(folder, options.device)
    common = {
        "dataset": NNUNET_DATASET,
        "plans": PLANS[options.plans][1],
        "fold": fold,
        "device": options.device,
        "batch_size": options.batch_size,
    }
    cpu_s, wall_s = nnunet_budget.limits(options.minutes, cores=_cores(), cap=options.cap, device=options.device)
    trained, predicted = place / "nnunet_trained.json", place / "nnunet_predicted.json"
    if not trained.is_file():
        budget = {"cpu_s": None if math.isinf(cpu_s) else cpu_s, "wall_s": wall_s}
        part = place / "nnunet_facts.json"
        cost = _work(options, "train", {**common, **budget, "seed": seed, "facts": str(part)}, place, environ)
        write_json(trained, {**read_json(part), **cost})
    masks = {method: place / "masks" / method for method in MIRRORED}
    if not predicted.is_file():
        images = folder / "nnunet" / "raw" / NNUNET_DATASET / "imagesTr"
        predict = {
            "scans": {case: str(images / f"{case}_0000.nii.gz") for case in test},
            "outputs": {str(path): MIRRORED[method] for method, path in masks.items()},
            "facts": str(predicted),
        }
        # The predictor would load a compiled network's weights by other names.
        _work(options, "predict", {**common, **predict}, place, {**environ, "nnUNet_compile": "false"})
    training, prediction = read_json(trained), read_json(predicted)
    return {
        method: (
            path,
            {
                **training,
                "cpu_s": training["cpu_s"] + prediction["cpu_s"][str(path)],
                "wall_s": training["wall_s"] + prediction["wall_s"][str(path)],
            },
        )
        for method, path in masks.items()
    }


def _work(
    options: argparse.Namespace, work: str, arguments: dict, place: pathlib.Path, environ: Mapping[str, str]
) -> dict[str, float]:
    """Runs a function of benchmarks.nnunet_worker in nnU-Net's environment; returns its cost."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"nnunet_{work}.options.json"
    write_json(path, arguments)
    command = [str(options.nnunet / "bin" / "python"), "-m", "benchmarks.nnunet_worker", work, str(path)]
    return process.run(command, place / f"nnunet_{work}.log", environ)


def _run_ours(
    options: argparse.Namespace, flags: Sequence[str], folder: pathlib.Path, seed: int, fold: int, test: Sequence[str]
) -> dict[str, tuple[pathlib.Path, dict]]:
    """Cross-validates one fold with ichjax, without its baselines; returns {OURS: (folder of masks, facts)}.

    A run that was stopped starts anew, so that its cost is that of a whole run.
    """
    workdir = folder / f"fold_{fold}" / OURS
    shutil.rmtree(workdir, ignore_errors=True)
    chosen = [f"--config.folds=({fold},)", "--config.compare_with=()"]
    environ = {"JAX_PLATFORMS": "cpu"} if options.device == "cpu" else {}
    command = process.ours("crossval", *flags, *chosen, f"--workdir={workdir}")
    cost = process.run(command, workdir.with_suffix(".log"), environ, allow=(0, 2))
    if not (workdir / RESULTS_FILE).is_file():
        raise RuntimeError(f"{workdir.with_suffix('.log')}: crossval did not finish")
    return {OURS: (workdir / "predictions", cost)}


def _evaluate(
    masks: pathlib.Path, evaluated: pathlib.Path, flags: Sequence[str], method: str, folder: pathlib.Path
) -> None:
    """Scores a folder of masks with the `evaluate` command, whose status is 2 as it misses the other folds' masks."""
    shutil.rmtree(evaluated, ignore_errors=True)
    words = [f"--predictions={masks}", f"--workdir={evaluated}", f"--name={method}"]
    process.run(process.ours("evaluate", *flags, *words), evaluated.with_suffix(".log"), allow=(0, 2))


def _environment(folder: pathlib.Path, device: str) -> dict[str, str]:
    """nnU-Net's environment variables.

    On a CPU it augments in the training process: that takes about a hundredth of a step's time, and the CPU
    seconds of the process then are those of everything.
    """
    parts = {f"nnUNet_{part}": str(folder / "nnunet" / part) for part in ("raw", "preprocessed", "results")}
    return {**parts, **FAST_ON_CPU, "nnUNet_n_proc_DA": "0"} if device == "cpu" else parts


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_table(options: argparse.Namespace) -> None:
    """Prints the table, writes it to OUTPUT/table.json and table.md, and with --publish to benchmarks/results."""
    records = nnunet_table.read_records(options.output)
    rows = nnunet_table.rows(records)
    said = nnunet_table.describe(_settings(options), records)
    text = f"{said}\n\n{record.markdown(rows)}\n"
    write_json(options.output / "table.json", {"said": said, "rows": rows, "records": records})
    write_text(options.output / "table.md", text)
    print(f"\n{text}\nwritten: {options.output / 'table.json'}")
    if options.publish:
        record.write("nnunet", rows, description=said)
        print(f"written: {write_page(record.RESULTS, record.device_name())}")


if __name__ == "__main__":
    sys.exit(main())
