"""Seconds of training and prediction are kept by fold, and only of trainings that were measured whole."""

import json

from ichjax.experiment import seconds


def test_a_training_is_measured_once_and_whole(tmp_path):
    with seconds.of_training(tmp_path):
        (tmp_path / "model.json").write_text("{}")
    with seconds.of_training(tmp_path):  # finished already
        pass
    with seconds.of_prediction(tmp_path):
        pass
    with seconds.of_prediction(tmp_path):
        pass
    record = json.loads((tmp_path / "seconds.json").read_text())
    assert len(record["fit_s"]) == 1
    assert len(record["predict_s"]) == 2
    assert all(value >= 0 for values in record.values() for value in values)


def test_a_training_that_is_continued_is_not_measured(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "1").write_text("")
    with seconds.of_training(tmp_path):
        (tmp_path / "model.json").write_text("{}")
    assert not (tmp_path / "seconds.json").exists()
