"""A U-Net with a recurrent layer over adjacent slices at its bottleneck: the paper's plan for future work.

The paper (section 5) plans to enhance the U-Net 'with a recurrent neural network such as LSTM networks to consider the
relationship between the adjacent slices'. Here the U-Net of `config.model` sees whole slices, and a bidirectional
convolutional GRU or LSTM carries its bottleneck along the scan. `kind='none'` is the U-Net alone on the same examples,
to compare with; `config.init_from` starts from a trained U-Net, with which the network then agrees until it is trained.

Weak supervision: `weak_root` is a set in the layout of RSNA 2019, with labels of slices and no masks. In each epoch at
most as many of its stacks join as there are stacks with masks, and the highest logit of each of their slices is
compared with the slice's label; `weak_weight` is the weight of that loss.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ichjax.config import Config
from ichjax.console import say
from ichjax.data import leak_guard
from ichjax.data.labeled_stacks import LabeledStackReader
from ichjax.data.leak_guard import SeenScans
from ichjax.data.patch_index import Epochs
from ichjax.data.rsna import identify_scans
from ichjax.data.rsna_index import open_index
from ichjax.data.rsna_reader import ScanReader
from ichjax.data.scan_cache import CachedScan
from ichjax.data.stacks import StackReader
from ichjax.data.weak_stacks import WeakOrder, WeakStackReader
from ichjax.errors import InputError
from ichjax.methods.own_settings import configured
from ichjax.methods.sequence_method import SequenceMethod
from ichjax.models import residual_unet, unet
from ichjax.models.recurrent_unet import RecurrentUNet
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.train.fold import Fitted, read_data
from ichjax.train.loop import train_on


class RecurrentUNetMethod(SequenceMethod):
    """The U-Net of the configuration on whole slices in order, with a recurrent layer at its bottleneck."""

    title = "U-Net with recurrence"
    card = "A U-Net on whole slices with a recurrent layer over adjacent slices (Hssayeni et al. 2020, future work)"
    name = "recurrent_unet"
    defaults: ClassVar[dict[str, Any]] = {
        "kind": "gru",
        "hidden": 32,
        "kernel": 3,
        "stack": 6,
        "weak_root": "",
        "weak_weight": 0.1,
        "grid": {"side": 96},
        "predict": {"threshold": 0.5, "find_threshold": 0.0},
        "train": {
            "batch_size": 1,
            "examples_per_epoch": 0,
            "epochs": 10,
            "learning_rate": 4e-3,
            "negatives": "matched",
            "sampling": "patches",
        },
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        if options["weak_root"] and config.parallel_folds > 1:
            raise InputError(
                f"config.parallel_folds is {config.parallel_folds} and config.options.recurrent_unet.weak_root is set; "
                "expected parallel_folds=1, as scans with slice labels are streamed to one fold at a time"
            )
        family = residual_unet if changed.model.encoder == "residual" else unet
        plain = family.network_from_config(changed)
        if options["kind"] == "none":
            self.title = "U-Net without recurrence"
        module = RecurrentUNet(plain.module, options["kind"], options["hidden"], options["kernel"])
        fields = unet.network_fields(changed) | {"slice_head_weight": 0.0}
        self._weak_root = options["weak_root"]
        weak_weight = options["weak_weight"] if self._weak_root else 0.0
        super().__init__(changed, SequenceNetwork(module, **fields, stack=options["stack"], weak_weight=weak_weight))

    def train(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, folder: pathlib.Path, fold: int
    ) -> Fitted:
        """As `PatchNetworkMethod.train`; scans of `weak_root` join those with masks."""
        if not self._weak_root:
            return super().train(train, valid, folder=folder, fold=fold)
        config, length = self.config, self.network.stack
        data = read_data(config, self.network, train, valid, fold=fold)
        index = open_index(pathlib.Path(self._weak_root))
        labeled = LabeledStackReader(ScanReader(index, depth=length, side=config.grid.side))
        assert isinstance(data.reader, StackReader)
        assert isinstance(data.epochs, Epochs)
        order = WeakOrder(data.epochs, np.arange(len(labeled.scans.first)))
        count = f"{len(order.labeled)} stacks of {len(index.scans)} scans"
        say(f"fold {fold}: {order.drawn} of {count} with slice labels join in each epoch")
        reader, steps = WeakStackReader(data.reader, labeled), order.steps(config.train.batch_size)
        joined = dataclasses.replace(data, reader=reader, epochs=order, steps=steps)
        return train_on(config, self.network, joined, folder=folder, fold=fold)

    @functools.lru_cache(maxsize=1)  # noqa: B019, as a run has one method
    def other_scans(self) -> SeenScans | None:
        """The scans of `weak_root`."""
        if not self._weak_root:
            return None
        index = open_index(pathlib.Path(self._weak_root))
        return leak_guard.collect(identify_scans(index, range(len(index.scans))))


make = RecurrentUNetMethod
