"""The method interface: a made-up method and a second network family work with every command."""

import ast
import csv
import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import ichjax
import launch
from ichjax.data import regrid
from ichjax.errors import InputError
from ichjax.methods import base, registry
from ichjax.ops.augment import AffineRange
from ichjax.scan.nifti import read_nifti
from ichjax.train import state as states
from ichjax.train import step as steps

ROOT = pathlib.Path(__file__).parents[2]
SUBTYPES = ("IVH", "IPH", "SAH", "EDH", "SDH")
pytestmark = pytest.mark.xdist_group("seam")


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Each is a file and a registry line, like any other method."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("made_up", "neighbor_network"):
            patch.setitem(registry.METHODS, name, f"tests.methods.{name}")
        yield


@pytest.fixture(scope="module")
def run(tiny_config, config_file, tmp_path_factory):
    """A cross-validated run of the made-up method, compared with the thresholds."""
    folder = tmp_path_factory.mktemp("seam")
    config = tiny_config(method="made_up", compare_with=("threshold",), **{"options.sharpness": 0.5})
    path = config_file(folder, config)
    assert launch.main(["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


def read(path):
    return json.loads(path.read_text())


def test_results_and_report_use_its_title_and_records(run):
    results = read(run / "results.json")
    assert (results["method"], results["title"], results["published"]) == ("made_up", "Made up", {})
    assert "layers" not in results
    assert results["conventions"]["paper"]["dice"]["mean"] > 0.5  # hemorrhages of the tiny set have one brightness
    assert all(fold["mean_hu"] == pytest.approx(65, abs=1) for fold in results["chosen_by_fold"])
    page = (run / "report.html").read_text()
    assert "Made up" in page
    assert "Detection of sub-types" in page
    assert "by the method's own scores" in page
    rows = _csv(run / "tables" / "table6.csv")
    assert {row["method"] for row in rows} == {"Made up", "Threshold"}
    assert {row["paper_dice"] for row in rows if row["method"] == "Made up"} == {""}
    assert {row["paper_dice"] for row in rows if row["method"] == "Threshold"} == {"", "0.135"}


def test_its_own_scores_give_the_curves(run):
    """Against scikit-learn, from the scores.json of the folds."""
    rows = [row for fold in sorted(run.glob("fold_*/scores.json")) for row in read(fold)["subjects"]]
    beyond = read(run / "results.json")["beyond"]
    truth = np.concatenate([np.array(row["truth_px"]) > 0 for row in rows])
    scores = np.concatenate([[piece["score"] for piece in row["details"]["slices"]] for row in rows])
    assert beyond["slice_roc"]["own_scores"]
    assert beyond["slice_roc"]["area"] == pytest.approx(roc_auc_score(truth, scores))
    assert beyond["slice_roc"]["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    bleeds = [any(row["truth_px"]) for row in rows]
    of_scans = [np.median([piece["score"] for piece in row["details"]["slices"]]) for row in rows]
    assert beyond["scan_roc"]["area"] == pytest.approx(roc_auc_score(bleeds, of_scans))

    table = {(row["method"], row["subtype"], row["unit"]): row for row in _csv(run / "tables" / "subtype_auc.csv")}
    assert {method for method, *_ in table} == {"Made up"}  # the thresholds score no sub-type
    labels = np.concatenate([np.array(row["slice_labels"]) for row in rows])
    scored = np.concatenate([np.array(row["subtype_scores"]) for row in rows])
    for k, name in enumerate(SUBTYPES):
        cell = table["Made up", name, "slices"]["area"]
        if labels[:, k].any():
            assert float(cell) == pytest.approx(roc_auc_score(labels[:, k], scored[:, k]))
        else:
            assert cell == ""
    assert {row["scan_scores"][0] for row in rows} == {None}
    scans = [(np.max(row["slice_labels"], axis=0)[3], -np.max(row["subtype_scores"], axis=0)[3]) for row in rows]
    assert float(table["Made up", "EDH", "scans"]["area"]) == pytest.approx(roc_auc_score(*zip(*scans, strict=True)))
    threshold = read(run / "baselines" / "threshold" / "results.json")
    assert "own_scores" not in threshold["beyond"]["slice_roc"]

    found = {(row["method"], row["unit"], row["detected"]): row for row in _csv(run / "tables" / "detection.csv")}
    assert float(found["Made up", "slices", "any"]["auc"]) == pytest.approx(beyond["slice_roc"]["area"])
    assert float(found["Made up", "scans", "any"]["auc"]) == pytest.approx(beyond["scan_roc"]["area"])
    assert float(found["Threshold", "scans", "any"]["auc"]) == pytest.approx(threshold["beyond"]["scan_roc"]["area"])
    assert {row["ranked_by"] for row in found.values()} == {"own slice scores", "own scan scores", "probability"}
    assert {row["method"] for row in _csv(run / "tables" / "subtype_confusion.csv")} == {"Made up"}
    lesions = [lesion for row in rows for lesion in row["details"]["lesions"]["truth"]]
    touched = sum(lesion["covered"] > 0 for lesion in lesions)
    (of_made_up, _) = _csv(run / "tables" / "detection_lesions.csv")
    assert float(of_made_up["lesions_touched"]) == pytest.approx(touched / len(lesions))


def _csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_predict_compare_report_and_a_refused_export(run, tiny_root, tmp_path, capsys):
    words = [f"--workdir={run}", f"--output={tmp_path / 'out'}", "--input", str(tiny_root / "ct_scans" / "049.nii")]
    assert launch.main(["predict", *words]) == 0
    row = read(tmp_path / "out" / "049" / "prediction.json")
    assert row["mode"] == "pixel by pixel"
    assert len(row["slice_scores"]) == len(row["subtype_scores"]) == row["slices"] == 4
    assert len(row["scan_scores"]) == 6
    assert row["slice_scores"][1] == max(row["slice_scores"][:2])  # subject 49 bleeds in slices 1 and 2
    assert launch.main(["compare", str(run), str(run / "baselines" / "threshold")]) == 0
    assert "Made up" in capsys.readouterr().out
    assert launch.main(["report", f"--workdir={shutil.copytree(run, tmp_path / 'copy')}"]) == 0
    capsys.readouterr()
    assert launch.main(["export", f"--workdir={run}", f"--output={tmp_path / 'export'}"]) == 2
    assert "'made_up' (Made up), which cannot be exported" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_another_training_changes_the_identity_of_the_run(run, tmp_path, tiny_root):
    """Parameters without `weights` have the method's own fingerprint, so masks of an older training are not kept."""
    copy = shutil.copytree(run, tmp_path / "copy")
    before = ichjax.load_run(copy)
    assert ichjax.load_run(run).identity == before.identity
    mean_hu, std_hu = read(copy / "fold_1" / "model.json")
    (copy / "fold_1" / "model.json").write_text(json.dumps([mean_hu, 1.01 * std_hu]))  # `chosen` stays the same
    assert ichjax.load_run(copy).identity != before.identity


def test_options_of_another_method_are_refused(tiny_config):
    with pytest.raises(InputError, match=r"config\.options\.width is unknown to this method"):
        registry.make("made_up", tiny_config(**{"options.width": 3}))


def test_a_second_family_of_networks_is_trained_predicted_and_scored(tiny_config, config_file, tmp_path, tiny_root):
    fields = {"options.width": 3, "train.epochs": 1, "parallel": "shard_map", "folds": (0,)}
    path = config_file(tmp_path, tiny_config(method="neighbor_network", compare_with=(), **fields))
    run = tmp_path / "run"
    assert launch.main(["crossval", f"--config={path}", f"--workdir={run}"]) == 0
    assert read(run / "results.json")["title"] == "Three slices"
    trained = ichjax.load_run(run)
    assert trained.params[0].weights["Conv_1"]["kernel"].shape == (3, 3, 3, 3)  # three slices, `options.width`
    prediction = ichjax.predict(tiny_root / "ct_scans" / "049.nii", trained)
    assert prediction.probability.shape == (4, 32, 32)
    assert trained.method.slice_program(trained.params[0], None) is None


@pytest.mark.experiments
def test_the_scores_of_a_second_head_are_reported_like_those_of_any_method(
    tiny_config, config_file, tmp_path, tiny_root
):
    fields = {"train.slice_head_weight": 0.5, "train.epochs": 1, "parallel": "pmap", "folds": (0,)}
    path = config_file(tmp_path, tiny_config(compare_with=(), **fields))
    run = tmp_path / "run"
    assert launch.main(["crossval", f"--config={path}", f"--workdir={run}"]) == 0
    results, rows = read(run / "results.json"), read(run / "fold_0" / "scores.json")["subjects"]
    assert results["beyond"]["slice_roc"]["own_scores"]
    assert {np.shape(row["subtype_scores"]) for row in rows} == {(4, 5)}
    assert {row["subtype"] for row in _csv(run / "tables" / "subtype_auc.csv")} == set(SUBTYPES)
    trained, scan = ichjax.load_run(run), tiny_root / "ct_scans" / "049.nii"
    prediction = ichjax.predict(scan, trained)
    assert (prediction.slice_scores.shape, prediction.subtype_scores.shape) == ((4,), (4, 5))
    volume = read_nifti(scan)
    program = trained.method.slice_program(trained.params[0], regrid.own_grid(volume))  # for export
    exported = jax.jit(program)(volume.hu)
    np.testing.assert_allclose(exported, trained.method.predict(trained.params[0], volume).probability, atol=1e-6)


def test_the_training_step_uses_the_loss_of_the_network(tiny_config):
    """Without augmentation: the focal loss of the softmax, computed in float64."""
    method = registry.make("neighbor_network", tiny_config(**{"options.width": 3}))
    config, network = method.config, method.network
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(-40, 130, (4, 16, 16, 3)).astype(np.int16),
        "mask": (rng.random((4, 16, 16)) < 0.3).astype(np.uint8),
        "index": np.arange(4, dtype=np.int32),
        "weight": np.ones(4, np.float32),
    }
    state = states.create(network, config, fold=0)
    settings = steps.StepSettings(AffineRange(0.0, 0.0, 0.0, 0.0), 0)
    step = jax.jit(steps.make_train_step(network, optax.adam(1e-3), settings))
    logits = functools.partial(network.module.apply, {"params": state.params})
    z = np.asarray(logits(jnp.clip((batch["image"].astype(np.float32) + 20) / 120, 0, 1)), np.float64)
    p = 1 / (1 + np.exp(z[..., 0] - z[..., 1]))
    correct = np.where(batch["mask"] > 0, p, 1 - p)
    expected = ((1 - correct) ** 2 * -np.log(correct)).mean()
    _, metrics = step(state, batch)
    np.testing.assert_allclose(metrics["loss"].mean(), expected, rtol=1e-5)
    sums = jax.jit(steps.make_validation_step(network))(state.params, batch)
    np.testing.assert_allclose(sums["loss"] / 4, expected, rtol=1e-5)


def test_a_method_with_a_missing_function_is_abstract():
    with pytest.raises(TypeError, match="fingerprint"):
        type("Half", (base.Method,), {"fit": None, "predict": None, "load": None})()


def test_no_code_outside_methods_names_a_method():
    """Except for the default configuration and the fallback for older results.json."""
    allowed = {("config.py", "unet"), ("published.py", "unet")}
    # Those that are also a field of `config.predict` or a key of results.json cannot be looked for.
    names = set(registry.METHODS) - {"threshold", "subtypes"}
    classes = {"UNetMethod", "ThresholdMethod", "SubtypeMethod", "UNet"}
    named = set()
    for path in sorted((ROOT / "ichjax").rglob("*.py")):
        if path.parent.name in ("methods", "models"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                named.add((path.name, node.value))
            if isinstance(node, ast.Name) and node.id in classes:
                named.add((path.name, node.id))
            if isinstance(node, ast.ImportFrom) and node.module in registry.METHODS.values():
                named.add((path.name, node.module))
    assert named == allowed
