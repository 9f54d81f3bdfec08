"""nnU-Net's training within a budget, and its prediction; runs in the environment that has nnunetv2, without JAX.

    .venv-nnunet/bin/python -m benchmarks.nnunet_worker train|predict OPTIONS.json

OPTIONS.json has the arguments of the function of that name. nnUNet_raw, nnUNet_preprocessed and nnUNet_results must be
set. Nothing of nnU-Net is changed but the loop over iterations, its learning rate and, if asked for, the batch size.
"""

import importlib.metadata
import json
import os
import pathlib
import random
import statistics
import sys
import time

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from benchmarks.nnunet_budget import Budget, poly_rate

CONFIGURATION = "2d"
CHECKPOINT = "checkpoint_final.pth"
RECENT = 50  # iterations over which the reported loss is averaged


class BudgetTrainer(nnUNetTrainer):
    """nnU-Net's trainer, whose training ends with a budget instead of after 1,000 epochs.

    There is no validation during training and so no best checkpoint: the split's 'val' part is our test part.

    Attributes:
      facts: of a finished training, JSON-ready.
    """

    def train_within(self, cpu_s: float, wall_s: float) -> None:
        """Trains, and writes the final checkpoint; the limits are those of `Budget`.

        The clocks start after the first iteration, which allocates memory and on a GPU compiles; reading the data set
        and building the network do not count either.
        """
        self.on_train_start()
        self.network.train()
        losses = [self._iterate(0.0)]
        budget = Budget(cpu_s, wall_s)
        while (fraction := budget.fraction()) < 1.0:
            losses.append(self._iterate(fraction))
        used_cpu_s, used_wall_s = budget.used()
        self.current_epoch = 1  # `on_train_end` stores the epoch before
        self.on_train_end()
        self.facts = {
            "iterations": len(losses),
            "train_cpu_s": used_cpu_s,
            "train_wall_s": used_wall_s,
            "loss": statistics.fmean(losses[-RECENT:]),
            "batch_size": self.batch_size,
            "patch_size": list(map(int, self.configuration_manager.patch_size)),
            "parameters": sum(each.numel() for each in self.network.parameters()),
            "threads": torch.get_num_threads(),
            "versions": {name: importlib.metadata.version(name) for name in ("nnunetv2", "torch")},
        }

    def _iterate(self, fraction: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = poly_rate(self.initial_lr, fraction)
        return float(self.train_step(next(self.dataloader_train))["loss"])


def train(
    *,
    dataset: str,
    plans: str,
    fold: int,
    device: str,
    batch_size: int,
    seed: int,
    cpu_s: float | None,
    wall_s: float,
    facts: str,
) -> None:
    """Trains one fold and writes {'iterations', 'train_cpu_s', 'loss', ...} as JSON to the file `facts`.

    Args:
      dataset: its folder, such as 'Dataset501_ICH'.
      plans: name of the plans, such as 'nnUNetPlans'.
      fold: of splits_final.json.
      device: 'cpu' or 'cuda'.
      batch_size: 0 for the planned one.
      seed: of initial weights, patches and augmentation.
      cpu_s, wall_s: the budget, see `Budget`; None for no limit of CPU seconds.
      facts: the file to write; it exists only after a complete training.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net draws patches and augmentation from it
    torch.manual_seed(seed)
    trainer = _trainer(dataset, plans, fold, device, batch_size)
    trainer.train_within(float("inf") if cpu_s is None else cpu_s, wall_s)
    _write(facts, trainer.facts)


def predict(
    *,
    dataset: str,
    plans: str,
    fold: int,
    device: str,
    batch_size: int,
    scans: dict[str, str],
    outputs: dict[str, bool],
    facts: str,
) -> None:
    """Predicts scans by a fold's final checkpoint, and writes {'cpu_s': {folder: s}, 'wall_s': {folder: s}} to `facts`.

    Args:
      dataset, plans, fold, device, batch_size: as in `train`.
      scans: {case: NIfTI file}.
      outputs: {folder: whether to average over mirrored slices}; each gets CASE.nii.gz, a mask on the scan's grid.
      facts: the file to write.
    """
    trainer = _trainer(dataset, plans, fold, device, batch_size)
    trainer.load_checkpoint(os.path.join(trainer.output_folder, CHECKPOINT))
    trainer.set_deep_supervision_enabled(False)
    cpu_s, wall_s = {}, {}
    for folder, mirror in outputs.items():
        started = time.process_time(), time.perf_counter()
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        predictor = nnUNetPredictor(use_mirroring=mirror, device=trainer.device, allow_tqdm=False)
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            trainer.dataset_json,
            type(trainer).__name__,
            trainer.inference_allowed_mirroring_axes,
        )
        targets = [os.path.join(folder, case) for case in scans]
        predictor.predict_from_files_sequential([[path] for path in scans.values()], targets)
        cpu_s[folder] = time.process_time() - started[0]
        wall_s[folder] = time.perf_counter() - started[1]
    _write(facts, {"cpu_s": cpu_s, "wall_s": wall_s})


def _trainer(dataset: str, plans: str, fold: int, device: str, batch_size: int) -> BudgetTrainer:
    """The trainer of a planned data set."""
    folder = pathlib.Path(nnUNet_preprocessed) / dataset
    content = {**json.loads((folder / f"{plans}.json").read_text()), "continue_training": False}
    if batch_size:
        content["configurations"][CONFIGURATION]["batch_size"] = batch_size
    description = json.loads((folder / "dataset.json").read_text())
    return BudgetTrainer(content, CONFIGURATION, fold, description, torch.device(device))


def _write(path: str, facts: dict) -> None:
    """Writes JSON atomically."""
    temporary = pathlib.Path(f"{path}.part")
    temporary.write_text(json.dumps(facts, indent=1) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    {"train": train, "predict": predict}[sys.argv[1]](**json.loads(pathlib.Path(sys.argv[2]).read_text()))
