"""Checks that calibrated phantoms are neither trivial nor too hard: a small U-Net must beat the threshold baseline on
unseen subjects without a nearly perfect score. Takes minutes: `make gates`."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RUN = """
import importlib.util, pathlib, sys
from ichjax.experiment import crossval
spec = importlib.util.spec_from_file_location("demo", "configs/demo.py")
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)
config = demo.get_config()
config.phantom.preset = "calibrated"
config.phantom.subjects = 48
config.model.base_width = 16
config.train.epochs, config.train.examples_per_epoch = 10, 1200
config.predict.opening_px = 5
if __name__ == "__main__":  # the processes that make phantoms import this file
    config.folds = (0,)
    crossval.crossval(config, pathlib.Path(sys.argv[1]))
"""


@pytest.mark.gate
def test_a_width_16_unet_beats_the_threshold_on_calibrated_phantoms_and_stays_below_085(tmp_path):
    # In its own process, because the other tests simulate several devices and compile with few optimizations.
    (tmp_path / "gate.py").write_text(RUN)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "gate.py"), str(tmp_path / "run")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=1800)
    scores = {}
    for name, folder in (("unet", "."), ("threshold", "baselines/threshold")):
        results = json.loads((tmp_path / "run" / folder / "results.json").read_text())
        scores[name] = results["conventions"]["paper"]["dice"]["mean"]
    print(scores)
    assert scores["threshold"] < scores["unet"] < 0.85
