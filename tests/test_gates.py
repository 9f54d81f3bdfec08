"""Is the synthetic data neither trivial nor hopeless? A small U-Net, trained for minutes, is to beat the threshold
on subjects it has not seen and to stay away from a perfect score. Minutes: `make gates`."""

import importlib.util
import json
import pathlib

import pytest

from ichjax import crossval

DEMO = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


@pytest.mark.gate
def test_a_width_16_unet_beats_the_threshold_on_calibrated_phantoms_and_stays_below_085(tmp_path):
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    config = demo.get_config()
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 20
    config.grid.side, config.patch.side, config.patch.stride = 256, 64, 32
    config.model.base_width = 16
    config.train.epochs, config.train.examples_per_epoch = 5, 512
    config.predict.opening_px = 4
    crossval.crossval(config, tmp_path, folds=(0,))
    scores = {
        name: json.loads((tmp_path / place / "results.json").read_text())["conventions"]["paper"]["dice"]["mean"]
        for name, place in (("unet", "."), ("threshold", "baselines/threshold"))
    }
    print(scores)
    assert scores["threshold"] < scores["unet"] < 0.85
