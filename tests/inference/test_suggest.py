"""What to annotate next: against brute force, SciPy and values by hand, and the command on a run of several folds."""

import csv
import itertools
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

import launch
from ichjax.errors import InputError
from ichjax.inference import annotation_plan, suggest
from ichjax.inference.annotation_plan import Effort, TimeModel
from ichjax.ops import uncertainty


def test_disagreement_is_the_jensen_shannon_divergence():
    rng = np.random.default_rng(0)
    p = rng.random((2, 3, 5))
    p[:, 0, 0], p[:, 0, 1], p[:, 0, 2] = [0, 1], [0, 0], [1, 1]
    both = np.stack([p, 1 - p], axis=-1)
    expected = jensenshannon(both[0], both[1], axis=-1) ** 2  # the package has the root of the divergence
    np.testing.assert_allclose(uncertainty.jensen_shannon(list(jnp.asarray(p, jnp.float32))), expected, atol=1e-6)
    assert uncertainty.jensen_shannon([jnp.ones(1), jnp.zeros(1)])[0] == pytest.approx(np.log(2))


def test_the_highest_patches_of_a_scan():
    values = np.zeros((2, 5, 4), np.float32)
    values[0, :2, :2], values[1, 2:4, 2:], values[1, 4, 0] = 1.0, 0.5, 0.8
    # Means of 2 x 2 patches: 1, 0.5, and 0.2 at the padded end.
    for count, mean in ((1, 1.0), (2, 0.75), (3, 1.7 / 3), (100, 1.7 / 12)):
        assert uncertainty.highest_patches(jnp.asarray(values), side=2, count=count) == pytest.approx(mean)


def test_all_networks_count_whether_of_folds_or_within_them():
    members = np.random.default_rng(1).random((2, 3, 2, 8, 8)).astype(np.float32)  # folds, networks of each, a scan
    folds = [jnp.asarray(one.mean(axis=0)) for one in members]
    within = [uncertainty.jensen_shannon(list(jnp.asarray(one))) for one in members]
    every = uncertainty.jensen_shannon(list(jnp.asarray(members.reshape(6, 2, 8, 8))))
    expected = uncertainty.highest_patches(every, side=4, count=suggest.HIGHEST_PATCHES)
    assert suggest._value(folds, within, side=4) == pytest.approx(float(expected), rel=1e-5)
    assert suggest._value(folds, [], side=4) < expected


def test_effort_by_hand():
    mask = np.zeros((3, 6, 6), bool)
    mask[0, 1:3, 1:4] = True  # 2 rows, 3 columns: contours of 2 x 3 pixel widths and 2 x 2 pixel heights
    mask[2, 5, 5] = True
    assert annotation_plan.effort(mask, (2.0, 1.0)) == Effort(2 * 3 * 1.0 + 2 * 2 * 2.0 + 2 * 1.0 + 2 * 2.0, 2)
    assert annotation_plan.effort(np.zeros((1, 2, 2), bool), (1.0, 1.0)) == Effort(0.0, 0)


def test_times_are_fitted():
    truth = TimeModel(0.3, 0.5, 0.2)
    efforts = [Effort(0.0, 0), Effort(80.0, 1), Effort(300.0, 2), Effort(20.0, 5), Effort(900.0, 1)]
    fitted = annotation_plan.fit(efforts, [truth.minutes(one) for one in efforts])
    np.testing.assert_allclose(fitted, truth, atol=1e-9)
    assert TimeModel().minutes(Effort(0.0, 0)) == pytest.approx(1.0)


items = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=8)


@given(items=items, budget=st.integers(0, 90))
def test_the_best_set_within_the_time(items, budget):
    values, minutes = [value for value, _ in items], [time / 10 for _, time in items]
    chosen = annotation_plan.choose(values, minutes, budget / 10)
    assert chosen == sorted(set(chosen))
    assert sum(items[k][1] for k in chosen) <= budget
    sets = (s for n in range(len(items) + 1) for s in itertools.combinations(range(len(items)), n))
    best = max(sum(values[k] for k in s) for s in sets if sum(items[k][1] for k in s) <= budget)
    assert sum(values[k] for k in chosen) == best


def row(name, value, boundary_mm=50.0):
    return {"scan": name, "chosen": "", "value": value, "minutes": 0.0, "boundary_mm": boundary_mm, "lesions": 1}


def test_annotated_scans_are_left_out_and_set_the_times():
    rows = [row(f"a{k}", 1.0, 10.0**k) | {"lesions": k % 3} for k in range(5)] + [row("b", 0.1), row("c", 0.5)]
    measured = {f"a{k}": 2 * TimeModel().minutes(Effort(10.0**k, k % 3)) for k in range(5)}
    planned = suggest.plan(rows, 100.0, measured)
    assert [one["scan"] for one in planned] == ["c", "b"]
    assert planned[0]["minutes"] == pytest.approx(2 * TimeModel().minutes(Effort(50.0, 1)), abs=0.05)
    none = suggest.plan(rows[-2:], 0.001, {})
    assert [one["chosen"] for one in none] == ["no", "no"]


def test_the_command(tiny_threshold_run, tiny_root, tmp_path, capsys):
    words = [
        f"--workdir={tiny_threshold_run}",
        "--input",
        str(tiny_root),
        f"--output={tmp_path / 'out'}",
        "--hours=0.2",
        f"--times={tmp_path / 'times.csv'}",
    ]
    (tmp_path / "times.csv").write_text("scan,minutes\n000.nii.gz,12\n")
    assert launch.main(["suggest", *words]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "suggestions.csv").read_text().splitlines()))
    assert len(rows) == 9
    chosen = [one for one in rows if one["chosen"] == "yes"]
    assert 0 < sum(float(one["minutes"]) for one in chosen) <= 12.1
    assert rows[: len(chosen)] == chosen
    printed = capsys.readouterr().out
    assert "of 9 scans, about" in printed
    assert "times.csv: 1 of its scans are not in --input (000.nii.gz); expected names as 0" in printed
    (tmp_path / "times.csv").write_text("scan,minutes\n" + "".join(f"{one['scan']},9\n" for one in rows))
    (tmp_path / "out" / "suggestions.csv").unlink()
    assert launch.main(["suggest", *words]) == 0
    assert "every scan has a measured time: there is none to suggest" in capsys.readouterr().out
    assert not (tmp_path / "out" / "suggestions.csv").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan,minutes\n049,x\n", "line 2 has no minutes; expected the columns scan, minutes"),
        ("scan,minutes\n049,-1\n", r"line 2 has -1 minutes; expected a number above 0"),
        ("name\n049\n", "line 2 has no minutes"),
    ],
)
def test_times_that_cannot_be_used(tmp_path, text, words):
    (tmp_path / "times.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        suggest.read_times(tmp_path / "times.csv")


def test_what_is_refused(tiny_threshold_run, tiny_root, tmp_path):
    one_fold = shutil.copytree(tiny_threshold_run, tmp_path / "one")
    for number in (1, 2):
        shutil.rmtree(one_fold / f"fold_{number}")
    with pytest.raises(InputError, match="--hours is 0; expected a number above 0"):
        suggest.suggest(tiny_threshold_run, [tiny_root], tmp_path, hours=0.0)
    with pytest.raises(InputError, match="--hours is inf"):
        suggest.suggest(tiny_threshold_run, [tiny_root], tmp_path, hours=float("inf"))
    with pytest.raises(InputError, match="one network alone cannot disagree; expected at least two finished folds"):
        suggest.suggest(one_fold, [tiny_root], tmp_path, hours=1.0)
    with pytest.raises(InputError, match=r"times\.csv: cannot be read"):
        suggest.suggest(tiny_threshold_run, [tiny_root], tmp_path, hours=1.0, times=tmp_path / "times.csv")


def test_thousands_of_specks_take_a_week_at_most():
    assert TimeModel().minutes(Effort(50_000.0, 8_000)) == pytest.approx(annotation_plan.MAX_MINUTES)
    assert annotation_plan.choose([1.0, 2.0], [2400.0, 2400.0], 1e12) == [0, 1]
