"""The exported program gives the masks of `predict` in a process that has only JAX and NumPy."""

import datetime
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import ichjax
import launch
from ichjax.errors import InputError
from ichjax.inference import export
from ichjax.inference import exported as exported_programs
from ichjax.inference import model as trained_runs
from ichjax.inference.records import ProgramRecord
from ichjax.scan import nifti
from ichjax.scan import volume as volumes

pytestmark = pytest.mark.xdist_group("export")
SCRIPT = """
import sys
import jax, numpy as np
try:
    import ichjax
except ImportError:
    pass
else:
    sys.exit("ichjax can be imported")
program = jax.export.deserialize(open(sys.argv[1], "rb").read())
scans = np.load(sys.argv[2])
outputs = [array for name in scans for array in program.call(scans[name])]
np.savez(sys.argv[3], *outputs)
"""


@pytest.fixture(scope="module")
def trained(tiny_network_run, tiny_root, tmp_path_factory):
    """The work directory of two folds of a very small network."""
    run = tmp_path_factory.mktemp("export") / "run"
    shutil.copytree(tiny_network_run, run)
    # After so few updates all pixels would be on one side of any threshold fixed beforehand.
    volume = nifti.read_nifti(tiny_root / "ct_scans" / "049.nii")
    probability = trained_runs.predict(volume, trained_runs.load_run(run)).probability
    config = json.loads((run / "config.json").read_text())
    config["predict"]["threshold"] = round(float(np.quantile(probability, 0.7)), 5)
    (run / "config.json").write_text(json.dumps(config))
    return run


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder that the command wrote."""
    output = tmp_path_factory.mktemp("exported")
    assert launch.main(["export", f"--workdir={trained}", f"--output={output}", "--side=32"]) == 0
    return output


def test_a_process_without_ichjax_predicts_the_same_masks(exported, trained, tiny_root, tmp_path):
    volume = nifti.read_nifti(tiny_root / "ct_scans" / "049.nii")
    volume.hu[0, 0, 0] += 1  # else it is one of the run's own scans, which not all folds predict
    scans = [np.resize(volume.hu, (slices, 32, 32)) for slices in (4, 11)]
    np.savez(tmp_path / "hu.npz", *scans)
    cleared = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    command = [sys.executable, "-c", SCRIPT, exported / "model.jaxexport", tmp_path / "hu.npz", tmp_path / "out.npz"]
    subprocess.run(list(map(str, command)), check=True, cwd=tmp_path, env=cleared)
    outputs = np.load(tmp_path / "out.npz")
    affine = np.diag([-6.0, -6.0, 5.0, 1.0])
    run = trained_runs.load_run(trained, whole_slices=False)
    for k, hu in enumerate(scans):
        prediction = trained_runs.predict(volumes.from_file_grid(hu.transpose(2, 1, 0), affine, name="x"), run)
        mask, probability = outputs[f"arr_{2 * k}"], outputs[f"arr_{2 * k + 1}"]
        np.testing.assert_allclose(probability, prediction.probability, atol=1e-5)
        np.testing.assert_array_equal(mask, prediction.mask)
        assert mask.dtype == np.uint8
        assert 0 < mask.mean() < 1  # else the comparison shows nothing


def test_model_json_and_card_describe_inputs_and_outputs(exported):
    record = json.loads((exported / "model.json").read_text())
    assert set(record) == set(ProgramRecord.__annotations__)
    assert record["takes"].startswith("int16 [D, 32, 32], HU; slices to the head")
    assert record["pixel_mm"] == pytest.approx([6, 6])
    assert (record["folds"], record["platforms"]) == ([0, 2], ["cpu", "cuda", "tpu"])
    made, until = (datetime.date.fromisoformat(record[name]) for name in ("made", "loads_until"))
    assert until - made == datetime.timedelta(days=180)
    assert record["versions"]["jax"] == jax.__version__
    card = (exported / "model_card.md").read_text()
    for part in (
        "## Training data",
        "No fold of this run has been tested",
        "Not a medical device",
        "folds 0, 2 averaged",
    ):
        assert part in card


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--side=8", "expected 32 to 2048"),
        ("--pixel_mm=nan", "of 0.1 to 10 mm"),
        ("--pixel_mm=-1", "of 0.1 to 10 mm"),
        ("--platforms=cpu,abacus", "--platforms has 'abacus'; expected some of cpu, cuda, tpu"),
    ],
)
def test_arguments_out_of_range_are_refused(trained, tmp_path, capsys, option, message):
    assert launch.main(["export", f"--workdir={trained}", f"--output={tmp_path / 'out'}", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_network_is_refused(tiny_threshold_run, tmp_path):
    with pytest.raises(InputError, match=r"is a run of the method 'threshold' \(Threshold\), which cannot be exported"):
        export.export(tiny_threshold_run, tmp_path / "out")


def test_only_configuration_and_parameters_are_stored_with_a_program(exported):
    run = exported / "run"
    assert json.loads((run / "config.json").read_text())["data"]["root"] == ""
    names = {path.relative_to(run).parts[:2] for path in run.rglob("*") if path.is_file()}
    assert names == {("config.json",), *((f"fold_{k}", name) for k in (0, 2) for name in ("model.json", "weights"))}


def test_tuned_thresholds_are_stored_too_and_other_folds_and_scores_are_not(tmp_path):
    run, kept = tmp_path / "a run", tmp_path / "out" / "run"
    for path in ("fold_0/weights/0", "fold_3/weights/0", "fold_3/model.json", "fold_3/post.json", "fold_3/scores.json"):
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_text("x")
    (run / "config.json").write_text(json.dumps({"data": {"root": "/home/someone/scans", "folds": 5}}))
    exported_programs.keep_run(run, tmp_path / "out", [3])
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert files == {"config.json", "fold_3/weights/0", "fold_3/model.json", "fold_3/post.json"}
    assert json.loads((kept / "config.json").read_text()) == {"data": {"root": "", "folds": 5}}


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def test_a_program_is_recreated_without_its_run(copy, monkeypatch, capsys):
    hu = np.random.default_rng(0).integers(-50, 150, (3, 32, 32)).astype(np.int16)
    before, card = ichjax.load_program(copy)(hu), (copy / "model_card.md").read_text()
    (copy / "model.jaxexport").unlink()
    monkeypatch.setattr(exported_programs, "today", lambda: datetime.date(2100, 1, 31))
    assert launch.main(["export", f"--again={copy}"]) == 0
    assert "guaranteed to load until 2100-07-30" in capsys.readouterr().out
    record = json.loads((copy / "model.json").read_text())
    assert (record["made"], record["loads_until"]) == ("2100-01-31", "2100-07-30")
    assert (record["side"], record["folds"]) == (32, [0, 2])
    for ours, theirs in zip(ichjax.load_program(copy)(hu), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (copy / "model_card.md").read_text() == card


@pytest.mark.parametrize(
    ("day", "said"), [("2000-01-01", "damaged, or of another version of JAX"), ("2200-01-01", "expired")]
)
def test_a_program_that_cannot_be_loaded_says_how_to_recreate_it(copy, monkeypatch, day, said):
    (copy / "model.jaxexport").write_bytes(b"of another age")
    monkeypatch.setattr(exported_programs, "today", lambda: datetime.date.fromisoformat(day))
    with pytest.raises(InputError) as caught:
        ichjax.load_program(copy)
    assert f"cannot be loaded with jax {jax.__version__}: {said} (" in str(caught.value)
    assert f"re-create it with `export --again={copy}`" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workdir=run"], "export has no --output; expected --output=DIR"),
        (["--again=nowhere"], "model.json: cannot be read as JSON"),
        ([], "one of the arguments --workdir --again is required"),
        (["--again=a", "--workdir=b"], "not allowed with argument"),
        (["--again=a", "--output=b"], "--output cannot be given with --again"),
        (["--again=a", "--side=256", "--platforms=cpu"], "--side, --platforms cannot be given with --again"),
        (["--again=a", "--pixel_mm=0.5"], "--pixel_mm cannot be given with --again"),
    ],
)
def test_wrong_words_for_an_export_are_refused(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert launch.main(["export", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_an_earlier_version_is_refused(copy):
    record = json.loads((copy / "model.json").read_text())
    del record["loads_until"]
    (copy / "model.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"model\.json: has no 'loads_until'; expected what `export` of this version"):
        ichjax.load_program(copy)
