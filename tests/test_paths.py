"""Few files lie on the call path from the command line to the training step, and from prediction to Dice."""

import pathlib
import traceback

import jax
import pytest

import launch
from ichjax.metrics import overlap
from ichjax.ops import metrics
from ichjax.train import step

ROOT = pathlib.Path(launch.__file__).parent
MAX_FILES, MAX_LINES = 9, 1500


@pytest.fixture
def stacks(monkeypatch):
    """stacks(module, name): a list that gets the repository's files on the call stack at each call of the function."""

    def watch(module, name):
        function, seen = getattr(module, name), []

        def watched(*arguments, **options):
            frames = [pathlib.Path(module.__file__)]
            frames += [pathlib.Path(frame.filename) for frame in traceback.extract_stack()[:-1]]
            seen.append({path for path in frames if path.is_relative_to(ROOT) and "tests" not in path.parts})
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, watched)
        return seen

    return watch


def check_size(files):
    """The names of the files, which must be few and short."""
    names = {str(path.relative_to(ROOT)) for path in files if ".venv" not in path.parts}
    lines = sum(len((ROOT / name).read_text().splitlines()) for name in names)
    assert len(names) <= MAX_FILES, names
    assert lines <= MAX_LINES, (lines, names)
    return names


def test_few_files_from_the_command_line_to_the_training_step_and_from_prediction_to_dice(
    stacks, tiny_config, config_file, tmp_path
):
    steps, counts, scores = stacks(step, "example_keys"), stacks(metrics, "counts_at"), stacks(overlap, "dice")
    jax.clear_caches()  # so that no program has been traced before
    fields = {"model.base_width": 3, "model.depth": 1, "train.epochs": 1, "folds": (1,), "compare_with": ()}
    path = config_file(tmp_path, tiny_config(**fields))
    assert launch.main(["crossval", f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 0
    run_through = {ROOT / name for name in ("launch.py", "ichjax/train/epoch.py", "ichjax/train/parallel.py")}
    training = check_size(steps[0] | run_through)  # `loop` traces the step before `epoch` runs it
    assert {"ichjax/cli/main.py", "ichjax/train/loop.py", "ichjax/train/step.py"} <= training
    above = {ROOT / "launch.py", *(path for path in steps[0] if path.parent.name == "cli")}
    papers = [seen for seen in scores if ROOT / "ichjax" / "metrics" / "protocol.py" in seen]  # not of single lesions
    scoring = check_size(set().union(*counts, *papers) - above)
    assert {"ichjax/experiment/crossval.py", "ichjax/ops/metrics.py", "ichjax/metrics/overlap.py"} <= scoring
