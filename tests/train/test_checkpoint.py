"""Checkpoints: the newest two and the best are kept and restored to the bit; damaged ones are reported."""

import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.train.checkpoint import SCORE, UNSCORED, Checkpoints, Progress, packed
from ichjax.train.state import TrainState


def state_of(epoch):
    params = {"w": jnp.full((3, 2), epoch / 3, jnp.float32)}
    return TrainState(jnp.int32(7 * epoch), jnp.int32(2), params, (jnp.arange(4.0) * epoch,))


def save_all(folder, scores):
    """Saves an epoch for each score, as the training loop does; returns the best epoch."""
    checkpoints, best = Checkpoints(folder), Progress().best
    for epoch, score in enumerate(scores, 1):
        if score > best[SCORE]:
            best = {"epoch": epoch, "step": epoch, SCORE: score}
        checkpoints.save(Progress(epoch, epoch, best), state_of(epoch), score)
    checkpoints.wait()
    checkpoints.close()
    return best


@pytest.mark.parametrize(
    ("scores", "kept"),
    [((0.1, 0.5, 0.2, 0.3, 0.4), [2, 4, 5]), ((0.1, 0.2, 0.3), [2, 3]), ((0.25,) * 4, [1, 3, 4]), ((0.0,), [1])],
)
def test_the_newest_two_and_the_best_are_kept(tmp_path, scores, kept):
    best = save_all(tmp_path / "c", scores)
    assert sorted(int(path.name) for path in (tmp_path / "c").iterdir() if path.name.isdigit()) == kept
    assert best["epoch"] in kept
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.latest() == len(scores)
    for epoch in kept:
        state, progress = checkpoints.restore(epoch, state_of(0))
        jax.tree.map(np.testing.assert_array_equal, state, state_of(epoch))
        assert (progress.step, progress.epoch) == (epoch, epoch)
        assert progress.best == (best if epoch >= best["epoch"] else progress.best)
    checkpoints.close()


def test_a_state_is_stored_as_one_array_for_each_dtype_and_comes_back_to_the_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    params = {"b": jnp.asarray(values, jnp.bfloat16), "a": {"kernel": jnp.asarray(values), "bias": jnp.float32(np.nan)}}
    state = TrainState(jnp.int32(5), jnp.int32(1), params, (jnp.asarray(values[:, :0]), jnp.asarray(-values.T)))
    by_hand = np.concatenate([values[0, :0], [np.nan], values.ravel(), -values.T.ravel()]).astype(np.float32)
    arrays = packed(state)
    assert {name: array.shape for name, array in arrays.items()} == {"int32": (2,), "bfloat16": (12,), "float32": (25,)}
    assert sorted(arrays["float32"].tobytes()) == sorted(by_hand.tobytes())
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(Progress(5, 1), state)
    checkpoints.wait()
    restored, _ = checkpoints.restore(5, jax.tree.map(jnp.ones_like, state))
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, state)
    assert [leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(restored))] == [
        leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(state))
    ]
    checkpoints.close()


@pytest.mark.parametrize("params", [{"v": (3, 2)}, {"w": (2, 3)}, {"w": (6,), "b": ()}])
def test_another_network_is_refused_even_with_as_many_numbers(tmp_path, params):
    save_all(tmp_path / "c", (0.1,))
    checkpoints = Checkpoints(tmp_path / "c")
    other = state_of(0).replace(params={name: jnp.zeros(shape) for name, shape in params.items()})
    with pytest.raises(InputError, match="the checkpoint cannot be read"):
        checkpoints.restore(1, other)
    checkpoints.close()


def test_without_a_checkpoint_no_update_is_done(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.latest() == 0
    assert checkpoints.restore_newest(state_of(0), print) is None
    checkpoints.close()


def test_a_damaged_checkpoint_is_an_input_error(tmp_path):
    save_all(tmp_path / "c", (0.1, 0.2))
    shutil.rmtree(tmp_path / "c" / "2" / "state")
    checkpoints = Checkpoints(tmp_path / "c")
    with pytest.raises(InputError, match=r"2: the checkpoint cannot be read \(.+\)"):
        checkpoints.restore(2, state_of(0))
    checkpoints.close()


def test_if_the_newest_is_damaged_the_previous_one_is_used_and_a_line_printed(tmp_path):
    save_all(tmp_path / "c", (0.3, 0.2, 0.1))
    shutil.rmtree(tmp_path / "c" / "3" / "state")
    checkpoints, lines = Checkpoints(tmp_path / "c"), []
    state, progress = checkpoints.restore_newest(state_of(0), lines.append)
    assert (progress.epoch, progress.best["epoch"]) == (2, 1)
    jax.tree.map(np.testing.assert_array_equal, state, state_of(2))
    assert len(lines) == 1
    assert "3: the checkpoint cannot be read" in lines[0]
    assert lines[0].endswith("resuming after step 2")
    checkpoints.save(Progress(3, 3, progress.best), state_of(3), 0.1)  # the damaged one was deleted
    checkpoints.close()


def test_if_none_can_be_read_the_error_asks_to_delete_the_folder(tmp_path):
    save_all(tmp_path / "c", (0.1, 0.2))
    for epoch in (1, 2):
        shutil.rmtree(tmp_path / "c" / str(epoch) / "state")
    checkpoints = Checkpoints(tmp_path / "c")
    with pytest.raises(InputError, match="delete the fold's folder to train it again"):
        checkpoints.restore_newest(state_of(0), print)
    checkpoints.close()


def test_a_checkpoint_within_an_epoch_keeps_the_history_and_is_never_the_best(tmp_path):
    checkpoints, best = Checkpoints(tmp_path / "c"), {"epoch": 1, "step": 4, SCORE: 0.0}
    checkpoints.save(Progress(4, 1, best), state_of(1), 0.0)  # the lowest possible score
    history = [
        {"loss": 1 / 3, "gradient_norm": 0.1, "finite": True},
        {"loss": 2.0, "gradient_norm": 0.2, "finite": False},
    ]
    for step in (6, 7, 8):
        checkpoints.save(Progress(step, 1, best, history), state_of(step), UNSCORED)
    checkpoints.wait()
    assert sorted(int(path.name) for path in (tmp_path / "c").iterdir() if path.name.isdigit()) == [4, 7, 8]
    _, progress = checkpoints.restore_newest(state_of(0), print)
    assert progress == Progress(8, 1, best, history)
    checkpoints.close()
