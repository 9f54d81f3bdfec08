"""Experiment 2 of the paper: the U-Net on whole slices with a hemorrhage, in place of patches."""

import copy
from typing import ClassVar

from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.methods.unet import UNetMethod
from ichjax.metrics.records import Published

BATCH_SIZE = 2  # the paper's


class FullSlicesMethod(UNetMethod):
    """The configuration's U-Net, trained on slices with a hemorrhage; an epoch sees as many pixels as with patches."""

    title = "U-Net, full slices"
    card = "The U-Net on whole slices (Hssayeni et al., Data 2020, 5, 14, experiment 2)"
    published: ClassVar[Published] = {}  # the paper has no figures of it: it predicted empty masks

    def __init__(self, config: Config):
        super().__init__(_on_full_slices(config))


def _on_full_slices(config: Config) -> Config:
    """The configuration with one patch a slice.

    Raises:
      InputError: slices have no common matrix.
    """
    side = config.grid.side
    if not side:
        raise InputError("config.grid.side is 0; expected the side of the slices that 'full_slices' is trained on")
    changed = copy.deepcopy(config)
    share = (config.patch.side / side) ** 2
    changed.patch.side = changed.patch.stride = side
    limit = config.train.examples_per_epoch  # 0 for none
    changed.train.examples_per_epoch = max(1, round(limit * share)) if limit else 0
    changed.train.batch_size = changed.predict.batch_size = BATCH_SIZE
    changed.train.slices = "hemorrhage"
    changed.train.negatives = changed.train.validation_negatives = "none"
    changed.train.hard_negatives = 0.0
    return changed


make = FullSlicesMethod
