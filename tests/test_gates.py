"""Is the synthetic data neither trivial nor hopeless? A small U-Net, trained for minutes, is to beat the threshold
on subjects it has not seen and to stay away from a perfect score. Minutes: `make gates`."""

import json

import pytest

from ichjax import crossval
from ichjax.config import default


@pytest.mark.gate
def test_a_width_16_unet_beats_the_threshold_on_calibrated_phantoms_and_stays_below_085(tmp_path):
    config = default()
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 20
    config.data.splits = "stratified"
    config.data.leave_out = ()
    config.windows = ((40.0, 120.0), (60.0, 60.0))
    config.patch.side, config.patch.stride = 128, 64
    config.model.base_width = 16
    config.model.dropout = 0.0
    config.model.norm = "group"
    config.model.head = "plain"
    config.train.epochs = 4
    config.train.examples_per_epoch = 512
    config.train.batch_size = 8
    config.train.learning_rate = 4e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 10
    config.train.dice_weight = 1.0
    config.train.validation_negatives = "matched"
    crossval.crossval(config, tmp_path, folds=(0,))
    scores = {
        name: json.loads((tmp_path / place / "results.json").read_text())["conventions"]["paper"]["dice"]["mean"]
        for name, place in (("unet", "."), ("threshold", "baselines/threshold"))
    }
    print(scores)
    assert scores["threshold"] < scores["unet"] < 0.85
