import csv
import json
import re
import shutil

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from ichjax.errors import InputError
from ichjax.metrics import statistics
from ichjax.report.compare import compare, load


def row(number, *, dice=None, truth_ml=0.0, predicted_ml=0.0, fold=0, **others):
    """A subject's row of results.json; without a Dice it has no hemorrhage."""
    jaccard = None if dice is None else dice / (2 - dice)
    scores = {"dice": dice, "jaccard": jaccard, "volume_dice": None if dice is None else 0.9 * dice}
    return {"subject": number, "fold": fold, **scores, "truth_ml": truth_ml, "predicted_ml": predicted_ml, **others}


def write_run(folder, rows, **others):
    folder.mkdir(parents=True)
    results = {"method": "unet", "config_digest": "abc123", "conventions": {}, "subjects": rows, **others}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def cohort(gain=0.0, *, folds=4, seed=0, positive=12, free=9):
    """Rows of subjects whose truth is always the same; each seed stands for another method."""
    truth, rng = np.random.default_rng(99), np.random.default_rng(seed)
    rows = []
    for number in range(49, 49 + positive + free):
        ml = float(truth.lognormal(2, 1)) if number < 49 + positive else 0.0
        score = float(np.clip(0.5 + gain + rng.normal(0, 0.1), 0, 1)) if ml else None
        rows.append(row(number, dice=score, truth_ml=ml, predicted_ml=ml + rng.uniform(0, 5), fold=number % folds))
    return rows


def records(folder):
    return {r["score"]: r for r in csv.DictReader((folder / "compare.csv").read_text(encoding="utf-8").splitlines())}


def flat(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    top = tmp_path_factory.mktemp("compare")
    rows_a, rows_b = cohort(seed=1), cohort(0.1, seed=2)
    a, b = write_run(top / "first", rows_a), write_run(top / "second", rows_b)
    return rows_a, rows_b, compare.compare(a, b, top / "new" / "out"), top / "new" / "out"


def test_every_score_agrees_with_its_definition_and_scipy(compared):
    rows_a, rows_b, _, out = compared
    positive, free = slice(0, 12), slice(12, 21)
    expected = {
        "dice": [[r["dice"] for r in rows[positive]] for rows in (rows_a, rows_b)],
        "jaccard": [[r["jaccard"] for r in rows[positive]] for rows in (rows_a, rows_b)],
        "volume_dice": [[r["volume_dice"] for r in rows[positive]] for rows in (rows_a, rows_b)],
        "volume_error_ml": [
            [abs(r["predicted_ml"] - r["truth_ml"]) for r in rows[positive]] for rows in (rows_a, rows_b)
        ],
        "false_positive_ml": [[r["predicted_ml"] for r in rows[free]] for rows in (rows_a, rows_b)],
    }
    written = records(out)
    assert list(written) == list(expected)
    for key, (a, b) in expected.items():
        got, difference = written[key], np.subtract(b, a)
        assert int(got["n"]) == len(a)
        assert float(got["mean_a"]) == pytest.approx(np.mean(a))
        assert float(got["mean_b"]) == pytest.approx(np.mean(b))
        assert float(got["difference"]) == pytest.approx(np.mean(difference))
        assert float(got["wilcoxon_p"]) == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
        figures = statistics.summary(difference)
        for kind in ("ci95", "ci95_bca"):
            assert [float(got[f"{kind}_low"]), float(got[f"{kind}_high"])] == pytest.approx(figures[kind])
        assert got["in_words"]
    holm = statistics.holm([float(r["wilcoxon_p"]) for r in written.values()])
    assert [float(r["holm_p"]) for r in written.values()] == pytest.approx(holm)


def test_text_is_a_table_with_its_conventions(compared):
    _, _, text, out = compared
    lines = text.splitlines()
    assert max(len(line) for line in lines if str(out) not in line) <= 98
    assert lines[:3] == [
        "A: U-Net, first (config abc123)",
        "B: U-Net, second (config abc123)",
        "21 subjects in both: 12 with a hemorrhage, 9 without.",
    ]
    got = records(out)["volume_error_ml"]
    cells = re.split(r"\s{2,}", next(line for line in lines if line.startswith("Volume error, mL [3]")))
    low, high = (float(got[f"ci95_{end}"]) for end in ("low", "high"))
    assert cells[1:5] == [
        f"{float(got['mean_a']):.2f}",
        f"{float(got['mean_b']):.2f}",
        f"{float(got['difference']):+.2f}",
        f"{low:+.2f} to {high:+.2f}",
    ]
    assert cells[7] == "12"
    for score in compare.COMPARED_SCORES:
        assert score.in_words in flat(text)
    assert "conditional on one training run" in flat(text)
    assert "Warning" not in text  # the same subjects in the same folds


def test_json_holds_the_values_of_the_figure(compared):
    rows_a, rows_b, _, out = compared
    content = json.loads((out / "compare.json").read_text())
    assert content["runs"]["B"]["name"] == "U-Net, second"
    assert [s["score"] for s in content["scores"]] == list(records(out))
    for subject, a, b in zip(content["subjects"], rows_a, rows_b, strict=True):
        assert subject["subject"] == a["subject"]
        assert (subject.get("dice_a"), subject.get("dice_b")) == (a["dice"], b["dice"])
        free = a["predicted_ml"] if not a["truth_ml"] else None
        assert subject.get("false_positive_ml_a") == free
    assert {path.name for path in out.iterdir()} == set(compare.FILES)
    with Image.open(out / "compare.png") as picture:
        assert min(picture.size) > 1000


def test_swapping_the_runs_changes_the_sign_of_every_difference(compared, tmp_path):
    rows_a, rows_b, _, out = compared
    compare.compare(write_run(tmp_path / "b", rows_b), write_run(tmp_path / "a", rows_a), tmp_path / "out")
    for key, got in records(tmp_path / "out").items():
        before = records(out)[key]
        assert float(got["difference"]) == pytest.approx(-float(before["difference"]))
        assert float(got["wilcoxon_p"]) == pytest.approx(float(before["wilcoxon_p"]))


def test_a_run_against_its_baseline(made, tmp_path):
    text = compare.compare(made.workdir, made.workdir / "baselines" / "threshold")
    assert "B: Threshold, run/baselines/threshold" in text
    assert str(made.workdir.parent) not in text  # the folder's name, never its full path
    dice = made.results["conventions"]["paper"]["dice"]["mean"]
    line = next(line for line in text.splitlines() if line.startswith("Dice [1]")).split()
    assert line[2] == f"{dice:.3f}"
    assert line[-4:] == ["-", "-", "-", "3"]  # three subjects: neither interval nor test
    assert "Written" not in text
    copy = shutil.copytree(made.workdir, tmp_path / "copy")
    compare.compare(made.workdir, copy, tmp_path / "out")  # every difference is zero
    got = records(tmp_path / "out")["dice"]
    assert (float(got["difference"]), got["wilcoxon_p"], got["holm_p"], got["ci95_low"]) == (0.0, "", "", "")
    assert "same folder" in compare.compare(made.workdir, made.workdir)


def test_reports_subjects_in_one_run_only(tmp_path):
    a = write_run(tmp_path / "a", cohort())
    b = write_run(tmp_path / "b", cohort()[2:], left_out_unreadable=[50])
    text = flat(compare.compare(a, b, tmp_path / "out"))
    assert "only in A, therefore not compared: 2 subjects (49, 50); unreadable in B: subject 50." in text
    assert "19 subjects in both: 10 with a hemorrhage, 9 without." in text
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["runs"]["A"]["only_here"] == [49, 50]
    fewer = write_run(tmp_path / "fewer", cohort()[12:])
    assert "12 subjects (49, 50, 51, 52, 53, 54, 55, 56, 57, 58, ...)" in flat(compare.compare(a, fewer))


def test_warns_of_different_folds_but_not_of_another_numbering(tmp_path):
    a = write_run(tmp_path / "a", cohort(folds=3))
    renamed = write_run(tmp_path / "renamed", [{**r, "fold": 9 - r["fold"]} for r in cohort(folds=3)])
    assert "folds" not in compare.compare(a, renamed)
    moved = cohort(folds=3)
    moved[0]["fold"], moved[1]["fold"] = moved[1]["fold"], moved[0]["fold"]
    text = flat(compare.compare(a, write_run(tmp_path / "moved", moved)))
    assert "the folds differ for 14 of 21 subjects" in text  # both folds of seven
    foreign = write_run(tmp_path / "foreign", [{**r, "fold": None} for r in cohort()])
    assert "B does not record folds" in flat(compare.compare(a, foreign))
    nothing = [{k: v for k, v in r.items() if k != "fold"} for r in cohort()]
    assert "A and B do not record folds" in flat(compare.compare(write_run(tmp_path / "none", nothing), foreign))


def test_subjects_excluded_from_the_convention_of_the_paper(tmp_path):
    a = write_run(tmp_path / "a", cohort(seed=1), left_out_of_paper=[50])
    b = write_run(tmp_path / "b", cohort(seed=2), left_out_of_paper=[])
    text = flat(compare.compare(a, b, tmp_path / "out"))
    assert "exclude different subjects from the paper's convention (A: subject 50; B: none)" in text
    got = records(tmp_path / "out")
    assert [int(got[key]["n"]) for key in ("dice", "jaccard", "volume_dice", "volume_error_ml")] == [11, 11, 12, 12]


def test_warns_of_a_collapse(tmp_path):
    a = write_run(tmp_path / "a", cohort())
    silent = [{**r, "predicted_ml": 0.0 if r["fold"] == 2 else r["predicted_ml"]} for r in cohort()]
    assert "B collapsed in fold 2: it predicts nothing" in flat(compare.compare(a, write_run(tmp_path / "b", silent)))
    unknown = [{**r, "predicted_ml": 0.0, "fold": None} for r in cohort()]
    assert "B collapsed: it predicts nothing" in flat(compare.compare(a, write_run(tmp_path / "c", unknown)))


@pytest.mark.parametrize("positive", [0, 9])
def test_scores_that_no_subject_has(tmp_path, positive):
    rows = cohort(positive=positive, free=9 - positive)
    text = compare.compare(write_run(tmp_path / "a", rows), write_run(tmp_path / "b", rows), tmp_path / "out")
    key, other = ("dice", "false_positive_ml") if positive == 0 else ("false_positive_ml", "dice")
    got = records(tmp_path / "out")
    assert (got[key]["n"], got[key]["mean_a"], got[key]["difference"]) == ("0", "", "")
    assert got[other]["n"] == "9"
    assert f"{positive} with a hemorrhage, {9 - positive} without" in text


def test_true_volumes_within_one_percent_are_equal(tmp_path):
    a = write_run(tmp_path / "a", cohort())
    near, far, lost = ([dict(r) for r in cohort()] for _ in range(3))
    near[3]["truth_ml"] *= 1.009
    assert "[1]" in compare.compare(a, write_run(tmp_path / "near", near))
    far[3]["truth_ml"] *= 1.012
    volume = cohort()[3]["truth_ml"]
    with pytest.raises(InputError, match=rf"subject 52 has {volume:.2f} mL in the first and .* \(1 of 21 subjects"):
        compare.compare(a, write_run(tmp_path / "far", far), tmp_path / "out")
    lost[15]["truth_ml"] = 0.001
    with pytest.raises(InputError, match=r"subject 64 has 0\.00 mL"):
        compare.compare(a, write_run(tmp_path / "lost", lost), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_without_a_shared_subject_are_refused(tmp_path):
    a, b = write_run(tmp_path / "a", cohort()[:4]), write_run(tmp_path / "b", cohort()[4:])
    with pytest.raises(InputError, match="have no subject in common; expected two runs on the same data set"):
        compare.compare(a, b)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "lists no subjects"),
        ([], "lists no subjects"),
        ([{"dice": 1.0}], "a subject without a number"),
        (["49"], "a subject without a number"),
        ([row(49), row(49)], "lists subject 49 twice"),
        ([row(49, truth_ml=None)], "subject 49 has truth_ml None"),
        ([row(49, truth_ml="2")], "subject 49 has truth_ml '2'"),
        ([row(49, predicted_ml=-1)], "subject 49 has predicted_ml -1"),
        ([row(49) | {"dice": float("nan")}], "subject 49 has dice nan"),
    ],
)
def test_malformed_rows_are_refused(tmp_path, rows, message):
    a, b = write_run(tmp_path / "a", cohort()), write_run(tmp_path / "b", rows)
    with pytest.raises(InputError, match=re.escape(str(b / "results.json")) + f": .*{message}.*; expected"):
        compare.compare(a, b)


def test_folders_without_a_run_or_not_writable_are_refused(tmp_path):
    a = write_run(tmp_path / "a", cohort())
    with pytest.raises(InputError, match="has no results"):
        compare.compare(a, tmp_path)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"not writable .*; expected a folder"):
            compare.compare(a, a, folder)


def test_long_names_are_shortened_and_made_printable(tmp_path):
    folder = write_run(tmp_path / ("long-$x^2$-" + "y" * 90 + "\x1b[31m-end"), cohort())
    name = load.read_side("A", folder).name
    assert len(name) <= load.MAX_NAME_LENGTH
    assert name.isprintable()
    assert name.startswith("U-Net, long-$x^2$-")
    assert name.endswith("-end")
    text = compare.compare(folder, folder, tmp_path / "out")  # the figure shows '$' as it is
    assert max(map(len, text.splitlines()[:-1])) <= 98
