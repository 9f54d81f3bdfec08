"""Multi-class masks through crossval, its tables and report, and through `evaluate`; counts against NumPy."""

import csv
import json

import chex
import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest

import ichjax
import launch
from ichjax.data import dataset, scan_cache
from ichjax.experiment import scoring
from ichjax.methods import registry
from ichjax.methods.base import Prediction
from tests import by_hand
from tests.by_hand import SUBTYPES
from tests.metrics.test_subtype_dice import count

pytestmark = [pytest.mark.xdist_group("subtype_scores"), pytest.mark.methods]


@pytest.fixture(scope="module")
def run(tiny_config, config_file, tmp_path_factory):
    """A run of the made-up method with sub-types, compared with the one without."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("made_up", "made_up_subtypes"):
            patch.setitem(registry.METHODS, name, f"tests.methods.{name}")
        folder = tmp_path_factory.mktemp("subtype_scores")
        path = config_file(folder, tiny_config(method="made_up_subtypes", compare_with=("made_up",)))
        assert launch.main(["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
        yield folder / "run"


def read(path):
    return json.loads(path.read_text())


def numpy_counts(truth, predicted):
    """The counts of a scan from its classes [D, H, W]; voxels of class 255 are left out."""
    known = truth != 255
    pairs = [(truth == k, (predicted == k) & known) for k in range(1, 6)]
    counts = ([int(mask.sum()) for mask in masks] for masks in zip(*((t, p, t & p) for t, p in pairs), strict=True))
    return count(*counts, unknown=int((~known).sum()))


def rows_of(folder):
    """{subject: its row of scores.json}."""
    return {row["subject"]: row for path in folder.glob("fold_*/scores.json") for row in read(path)["subjects"]}


def predicted_classes(run, root):
    """{subject: (its scan, the classes of its test, uint8 [D, H, W])}."""
    trained, predicted = ichjax.load_run(run), {}
    for subject in dataset.read_dataset(root).subjects:
        scan, fold = scan_cache.open_scan(subject), rows_of(run)[subject.number]["fold"]
        prediction = trained.method.predict(trained.params[trained.folds.index(fold)], scan.volume)
        mask = np.asarray(prediction.probability) > 0.5
        predicted[subject.number] = scan, by_hand.class_mask(prediction.class_probability, mask)
    return predicted


def test_the_counts_of_every_test_subject_agree_with_numpy(run, tiny_root):
    rows = rows_of(run)
    for number, (scan, classes) in predicted_classes(run, tiny_root).items():
        assert rows[number]["subtype_px"] == numpy_counts(np.asarray(scan.classes), classes)
    assert len(rows) == 9
    assert sum(sum(row["subtype_px"]["overlap_px"]) for row in rows.values()) > 0


def test_results_table_and_report_hold_the_three_conventions(run):
    counts = [row["subtype_px"] for row in rows_of(run).values()]
    table = read(run / "results.json")["subtype_dice"]
    truth, predicted, both = (np.array([c[k] for c in counts]) for k in ("truth_px", "predicted_px", "overlap_px"))
    with np.errstate(invalid="ignore"):
        dice = 2 * both / (truth + predicted)
        pooled = 2 * both.sum(axis=0) / (truth + predicted).sum(axis=0)
    present = [name for name, n in zip(SUBTYPES, truth.sum(axis=0), strict=True) if n]
    assert present == ["IPH", "EDH", "SDH"]
    rows = {
        row["subtype"]: row for row in csv.DictReader((run / "tables" / "subtype_dice.csv").read_text().splitlines())
    }
    assert list(rows) == [*SUBTYPES, "mean"]
    assert {row["method"] for row in rows.values()} == {"Made up, with sub-types"}
    for k, name in enumerate(SUBTYPES):
        row, scores = rows[name], table["by_subtype"][name]
        assert float(row["pooled"]) == scores["pooled"]["dice"] == pytest.approx(pooled[k])
        assert float(row["nnunet"]) == scores["nnunet"]["mean"] == pytest.approx(np.nanmean(dice[:, k]))
        assert int(row["present_only_subjects"]) == np.count_nonzero(truth[:, k])
        if name in present:
            assert float(row["present_only"]) == pytest.approx(dice[truth[:, k] > 0, k].mean())
        else:
            assert (row["present_only"], scores["present_only"]["mean"]) == ("", None)
    assert float(rows["mean"]["nnunet"]) == pytest.approx(np.nanmean(np.nanmean(dice, axis=0)))
    assert float(rows["mean"]["present_only"]) == table["mean"]["present_only"]
    page = (run / "report.html").read_text()
    assert 'id="subtype-dice"' in page
    assert "by class, nnU-Net&#39;s mean" in page
    assert f"{table['by_subtype']['EDH']['nnunet']['mean']:.3f}" in page


def test_a_method_without_sub_types_has_the_same_scores_and_none_of_this(run):
    with_them, without = (read(folder / "results.json") for folder in (run, run / "baselines" / "made_up"))
    assert "subtype_dice" not in without
    with_them["beyond"].pop("volume_interval")  # of the main method alone
    for row in with_them["subjects"]:
        row.pop("volume_interval_ml")
    for key in ("conventions", "slice_detection", "subjects", "beyond"):
        assert with_them[key] == without[key]
    plain = rows_of(run / "baselines" / "made_up")
    for number, row in rows_of(run).items():
        assert {key: value for key, value in row.items() if key != "subtype_px"} == plain[number]


def test_voxels_of_unknown_sub_type_are_left_out_in_one_program_for_scans_of_any_depth(monkeypatch):
    """Random classes of 3 to 7 slices, which all pad to 8."""
    rng, counted = np.random.default_rng(0), scoring._count_classes_in.__wrapped__
    monkeypatch.setattr(scoring, "_count_classes_in", jax.jit(chex.assert_max_traces(counted, n=1)))
    for depth in (3, 7, 5):
        truth = rng.choice([0, 1, 2, 3, 4, 5, 255], (depth, 9, 11)).astype(np.uint8)
        probability = rng.random((depth, 9, 11, 6), np.float32)
        mask = rng.random(truth.shape) < 0.3
        padded = jnp.asarray(np.pad(mask, ((0, 8 - depth), (0, 0), (0, 0))), jnp.uint8)
        scan = Classes(truth)
        counts = scoring._count_subtypes(scan, Prediction(None, class_probability=probability), padded, None)
        expected = by_hand.class_mask(probability, mask)
        assert counts == numpy_counts(truth, expected)
        assert 0 < counts["unknown_px"] == np.count_nonzero(truth == 255)
        assert counts["predicted_px"] != numpy_counts(np.where(truth == 255, 0, truth), expected)["predicted_px"]
        on_device = Prediction(None, class_probability=jnp.asarray(probability))
        assert scoring._count_subtypes(scan, on_device, padded, None) == counts


class Classes:
    """A scan of which only the classes are known."""

    def __init__(self, classes):
        self.classes = classes


@pytest.fixture
def masks(run, tiny_root, tmp_path):
    """A folder with the mask of sub-types that the run's test has of each scan."""
    (tmp_path / "masks").mkdir()
    for number, (scan, classes) in predicted_classes(run, tiny_root).items():
        ichjax.write(tmp_path / "masks" / f"{number:03d}.nii.gz", classes, scan.volume)
    return tmp_path / "masks"


def test_evaluate_scores_masks_of_sub_types_like_the_run(run, masks, tiny_root, tmp_path, capsys):
    words = ["evaluate", f"--predictions={masks}", f"--config.data.root={tiny_root}", "--subtypes"]
    assert launch.main([*words, f"--workdir={tmp_path / 'scored'}"]) == 0
    scored, own = read(tmp_path / "scored" / "results.json"), read(run / "results.json")
    for name, scores in own["subtype_dice"]["by_subtype"].items():
        assert scored["subtype_dice"]["by_subtype"][name]["pooled"] == scores["pooled"]
    assert scored["subtype_dice"]["mean"] == pytest.approx(own["subtype_dice"]["mean"])
    means = [results["conventions"]["volume"]["dice"]["mean"] for results in (scored, own)]  # of the merged classes
    assert means[0] == pytest.approx(means[1])
    assert (tmp_path / "scored" / "tables" / "subtype_dice.csv").is_file()

    file = nib.load(masks / "049.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(file.dataobj) * np.uint8(51), file.affine), masks / "049.nii.gz")
    capsys.readouterr()
    assert launch.main(words) == 2
    printed = capsys.readouterr().out
    assert "skipped: 049.nii.gz: values lie in 0 to" in printed
    assert "expected the labels of sub-types: 0 background, 1 IVH, 2 IPH, 3 SAH, 4 EDH, 5 SDH" in printed
