import json
import shutil

import pytest

from ichjax.errors import InputError
from ichjax.report import workdir
from ichjax.report.figures import case as cases


def test_reads_methods_and_epochs(made):
    run = workdir.read_run(made.workdir)
    assert list(run.methods) == ["U-Net", "Threshold"]
    assert (run.name, run.results["method"]) == ("U-Net", "unet")
    assert [record["epoch"] for record in run.metrics[1]] == [1, 2, 3]  # one is written twice, one is truncated
    assert run.notes[0].startswith("subject 50")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no results.json"), ("{", "cannot be read as JSON"), ("[]", "JSON object"), ("{}", "'conventions'")],
)
def test_folders_without_results_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=message):
        workdir.read_run(tmp_path)


def test_methods_of_the_same_name_are_numbered(made, tmp_path):
    for folder in (tmp_path, tmp_path / "baselines" / "again"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(made.workdir / "results.json", folder)
    assert list(workdir.read_run(tmp_path).methods) == ["U-Net", "U-Net (2)"]


def subjects(*rows):
    keys = ("subject", "dice", "positive_slices", "predicted_ml")
    return {"subjects": [dict(zip(keys, row, strict=True)) for row in rows]}


def test_best_median_worst_and_largest_false_positive_are_chosen():
    results = subjects((1, 0.5, 3, 9), (2, 0.9, 3, 9), (3, 0.1, 3, 9), (4, None, 0, 2), (5, None, 0, 7))
    assert workdir.choose_subjects(results) == [
        ("best Dice", 2),
        ("median Dice", 1),
        ("worst Dice", 3),
        ("hemorrhage-free, largest false-positive volume", 5),
    ]


def test_a_subject_is_chosen_once():
    assert workdir.choose_subjects(subjects((1, 0.5, 3, 9))) == [("best, median, worst Dice", 1)]
    assert workdir.choose_subjects(subjects((4, None, 0, 2)))[0][1] == 4


def test_masks_of_a_case_have_the_orientation_of_the_scan(made):
    run = workdir.read_run(made.workdir)
    case = cases.load_case(run, cases.open_dataset(run), 50)
    assert (case.truth == made.truth[50]).all()
    assert (case.prediction == made.prediction[50]).all()


def test_missing_files_of_a_case_are_refused(made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(made.workdir, copy)
    run = workdir.read_run(copy)
    dataset = cases.open_dataset(run)
    with pytest.raises(InputError, match="subject 77"):
        cases.load_case(run, dataset, 77)
    (copy / "predictions" / "050.nii.gz").unlink()
    with pytest.raises(InputError, match=r"predictions/050\.nii\.gz"):
        cases.load_case(run, dataset, 50)
    (copy / "config.json").write_text(json.dumps({"data": {"root": ""}}))
    with pytest.raises(InputError, match="names no data set"):
        cases.open_dataset(workdir.read_run(copy))
