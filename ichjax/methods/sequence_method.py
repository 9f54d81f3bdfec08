"""Base class of methods whose network sees the slices of a scan in order."""

from typing import Any, ClassVar

from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.methods.patch_network import PatchNetworkMethod
from ichjax.methods.sequence_predictor import SequencePredictor
from ichjax.models.sequence_network import SequenceNetwork


class SequenceMethod(PatchNetworkMethod):
    """Trains a `SequenceNetwork` on stacks of whole slices and predicts whole scans with it.

    Attributes:
      name: of the method, and of its options.
      defaults: its options, see `own_settings.configured`.
    """

    predictor = SequencePredictor
    exportable = False
    name: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]

    def __init__(self, config: Config, network: SequenceNetwork):
        super().__init__(whole_slices(config), network)
        self.seams = None
        self.mode = "whole slices in order"


def whole_slices(config: Config) -> Config:
    """A configuration changed, in place, so that an example is of whole slices.

    Raises:
      InputError: slices have no common matrix, or a field asks for what is done with patches alone.
    """
    if not config.grid.side:
        raise InputError("config.grid.side is 0; expected the side of the slices that the network is trained on")
    config.patch.side = config.patch.stride = config.grid.side
    config.patch.corner_pixel = config.predict.min_max_stretch = config.predict.quantize_8bit = False
    config.predict.mirror = config.model.mirrored_channel = False
    config.model.neighbors, config.transforms.slice_average_probability = 0, 0.0
    rules = [
        (not config.train.hard_negatives, "train.hard_negatives", config.train.hard_negatives, "0"),
        (config.train.sampling == "patches", "train.sampling", config.train.sampling, "'patches'"),
        (config.train.slices == "all", "train.slices", config.train.slices, "'all'"),
        (not config.train.resident, "train.resident", True, "False"),
    ]
    for holds, name, value, expected in rules:
        if not holds:
            raise InputError(f"config.{name} is {value!r}; expected {expected} where an example is a stack of slices")
    return config
