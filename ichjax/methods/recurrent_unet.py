"""A U-Net with a recurrent layer over adjacent slices at its bottleneck: the paper's plan for future work.

The paper (section 5) plans to enhance the U-Net 'with a recurrent neural network such as LSTM networks to consider the
relationship between the adjacent slices'. Here the U-Net of `config.model` sees whole slices, and a bidirectional
convolutional GRU or LSTM carries its bottleneck along the scan. `kind='none'` is the U-Net alone on the same examples,
to compare with; `config.init_from` starts from a trained U-Net, with which the network then agrees until it is trained.
"""

from typing import Any, ClassVar

from ichjax.config import Config
from ichjax.methods.own_settings import configured
from ichjax.methods.sequence_method import SequenceMethod
from ichjax.models import residual_unet, unet
from ichjax.models.recurrent_unet import RecurrentUNet
from ichjax.models.sequence_network import SequenceNetwork


class RecurrentUNetMethod(SequenceMethod):
    """The U-Net of the configuration on whole slices in order, with a recurrent layer at its bottleneck."""

    title = "U-Net with recurrence"
    card = "A U-Net on whole slices with a recurrent layer over adjacent slices (Hssayeni et al. 2020, future work)"
    name = "recurrent_unet"
    defaults: ClassVar[dict[str, Any]] = {
        "kind": "gru",
        "hidden": 32,
        "kernel": 3,
        "stack": 12,
        "grid": {"side": 96},
        "train": {
            "batch_size": 1,
            "examples_per_epoch": 0,
            "epochs": 16,
            "learning_rate": 2e-3,
            "negatives": "matched",
            "sampling": "patches",
        },
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        family = residual_unet if changed.model.encoder == "residual" else unet
        plain = family.network_from_config(changed)
        if options["kind"] == "none":
            self.title = "U-Net without recurrence"
        module = RecurrentUNet(plain.module, options["kind"], options["hidden"], options["kernel"])
        fields = unet.network_fields(changed) | {"slice_head_weight": 0.0}
        super().__init__(changed, SequenceNetwork(module, **fields, stack=options["stack"]))


make = RecurrentUNetMethod
