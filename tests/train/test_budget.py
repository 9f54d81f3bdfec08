"""A training time in minutes: measured once, with what a checkpoint costs, and then a fixed number of epochs."""

import jax
import pytest

from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.train import budget
from ichjax.train import state as states


@pytest.fixture
def config(tiny_config):
    return lambda minutes: tiny_config(**{"train.minutes": minutes, "train.epochs": 7})


def test_epochs_that_fit_are_recorded_once(config, tmp_path, capsys):
    asked = config(2.0)
    assert budget.with_epochs(asked, tmp_path, lambda: 25.0).train.epochs == 4  # 120 s / 25 s
    assert "2 minutes a fold: 4 epochs" in capsys.readouterr().out
    assert asked.train.epochs == 7
    slower = budget.with_epochs(asked, tmp_path, lambda: pytest.fail("measured again"))
    assert slower.train.epochs == 4


def test_at_least_one_epoch(config, tmp_path):
    assert budget.with_epochs(config(0.01), tmp_path, lambda: 25.0).train.epochs == 1


def test_without_minutes_nothing_is_measured(config, tmp_path):
    asked = config(0.0)
    assert budget.with_epochs(asked, tmp_path, lambda: pytest.fail("measured")) is asked


def test_another_configuration_is_measured_again(config, tiny_config, tmp_path):
    budget.with_epochs(config(2.0), tmp_path, lambda: 25.0)
    assert budget.with_epochs(config(3.0), tmp_path, lambda: 25.0).train.epochs == 7
    wider = tiny_config(**{"train.minutes": 3.0, "model.base_width": 64})
    assert budget.with_epochs(wider, tmp_path, lambda: 60.0).train.epochs == 3
    assert budget.with_epochs(wider, tmp_path, lambda: pytest.fail("measured again")).train.epochs == 3


def test_a_record_of_an_earlier_version_is_kept(config, tmp_path):
    (tmp_path / budget.BUDGET_FILE).write_text('{"minutes": 2.0, "epochs": 5, "seconds_per_epoch": 24.0}')
    assert budget.with_epochs(config(2.0), tmp_path, lambda: pytest.fail("measured again")).train.epochs == 5


@pytest.mark.parametrize("before", ["", '{"config": "other", "minutes": 2.0, "epochs": 9}'])
def test_of_processes_that_measure_at_the_same_time_the_first_decides(config, tmp_path, before):
    """Folds may be shared among processes that do not know each other."""
    if before:
        (tmp_path / budget.BUDGET_FILE).write_text(before)

    def slow() -> float:
        assert budget.with_epochs(config(2.0), tmp_path, lambda: 25.0).train.epochs == 4  # another process's
        return 60.0

    assert budget.with_epochs(config(2.0), tmp_path, slow).train.epochs == 4
    assert [path.name for path in tmp_path.iterdir()] == [budget.BUDGET_FILE]


@pytest.mark.parametrize("record", ['{"minutes": 2.0}', '{"minutes": 2.0, "epochs": "4"}', "[]"])
def test_a_damaged_record_is_refused(config, tmp_path, record):
    (tmp_path / budget.BUDGET_FILE).write_text(record)
    with pytest.raises(InputError, match=r"budget\.json"):
        budget.with_epochs(config(2.0), tmp_path, lambda: 25.0)


def test_a_measured_checkpoint_leaves_nothing_and_replaces_that_of_a_killed_run(config, tmp_path, monkeypatch):
    asked = config(1.0)
    state = states.create(unet.network_from_config(asked), asked, fold=0)
    jax.block_until_ready(state)
    with monkeypatch.context() as killed:
        killed.setattr(budget, "_remove", lambda place: None)
        assert 0 < budget.saving_seconds(state, tmp_path) < 60
    assert (tmp_path / budget.MEASURED_FOLDER / "1").is_dir()
    assert budget.saving_seconds(state, tmp_path) > 0
    assert not list(tmp_path.iterdir())
