"""Four 3-D networks classify whole scans, of the kind of Arbabshirani et al. (2018).

Published on 37,084 scans for training and 9499 for testing, and on 347 in clinical use: AUC 0.846, sensitivity 0.715,
specificity 0.835. The scan is resampled to 24 slices of 256 x 256 pixels; 3-D networks of five convolutions and two
dense layers with max-pooling and dropout tell whether it shows a hemorrhage, and the mean of four decides. Ours differs
in what could not be found (kernels, channels, the order of the layers, of this kind here); group normalization is
added; the dense layers work on each position of the last features, whose soft maximum is the logit, so that a class
activation map exists, which is the mask here (published: no mask); sub-types are learned besides; the four networks
differ by their initial parameters and dropout, and see the same random transforms; the default sees 64 x 64 pixels.
"""

from typing import Any, ClassVar

from ichjax.config import Config
from ichjax.methods.own_settings import configured
from ichjax.methods.volume_method import TRAIN_SCANS, VolumeMethod, dtype_of
from ichjax.models.volume_backbones import PlainVolume
from ichjax.models.volume_classifier import VolumeClassifier, VolumeEnsemble

MEMBERS = 4
POOLED = (True, True, True, False, False)  # after which of the five convolutions


class ArbabshiraniMethod(VolumeMethod):
    """The mean of four 3-D networks on whole scans, and of their class activation maps."""

    title = "Arbabshirani 2018"
    card = "Four 3-D networks classify scans, of the kind of Arbabshirani et al. 2018; the mask is their attention"
    name, reference = "arbabshirani", "arbabshirani_2018"
    defaults: ClassVar[dict[str, Any]] = {
        "depth": 24,
        "widths": (8, 16, 32, 32, 32),
        "hidden": 32,
        "dropout": 0.5,
        "stack": 16,
        "windows": ((40.0, 80.0),),
        "grid": {"side": 64},
        "train": TRAIN_SCANS,
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        members = tuple(
            VolumeClassifier(
                PlainVolume(tuple(options["widths"]), POOLED, dtype=dtype_of(changed)),
                (options["hidden"],),
                options["dropout"],
            )
            for _ in range(MEMBERS)
        )
        super().__init__(changed, VolumeEnsemble(members, options["depth"]), stack=options["stack"])


make = ArbabshiraniMethod
