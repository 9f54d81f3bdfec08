"""Three 3-D networks classify whole scans, of the kind of Jnawali et al. (2018).

Published on 34,848 scans for training and 5509 for testing: AUC 0.87, sensitivity 0.77, precision 0.80. Three 3-D
networks, one like AlexNet (five convolutions, three poolings, two dense layers), one like GoogLeNet (inception modules
with 1 x 1 x 1 bottlenecks) and a shallower one, tell whether a scan in the brain window shows a hemorrhage; scans with
one are seen as often as those without, under random rotations and mirrored; the mean of the three decides. Ours differs
in what could not be found (32 x 128 x 128 voxels, kernels, channels, of this kind here); group normalization is added;
dense layers work on each position of the last features, whose soft maximum is the logit, so that a class activation
map exists, which is the mask here (published: no mask); sub-types are learned besides; the default sees 16 x 64 x 64
voxels.
"""

from typing import Any, ClassVar

from ichjax.config import Config
from ichjax.methods.own_settings import configured
from ichjax.methods.volume_method import TRAIN_SCANS, VolumeMethod, dtype_of
from ichjax.models.volume_backbones import InceptionVolume, PlainVolume
from ichjax.models.volume_classifier import VolumeClassifier, VolumeEnsemble

ALEX_KERNELS = ((3, 7, 7), (3, 5, 5), (3, 3, 3), (3, 3, 3), (3, 3, 3))
ALEX_POOLED = (True, True, False, False, True)
SHALLOW_POOLED = (True, True, False)


class JnawaliMethod(VolumeMethod):
    """The mean of three different 3-D networks on whole scans, and of their class activation maps."""

    title = "Jnawali 2018"
    card = "Three 3-D networks classify scans, of the kind of Jnawali et al. 2018; the mask is their attention"
    name, reference = "jnawali", "jnawali_2018"
    defaults: ClassVar[dict[str, Any]] = {
        "depth": 16,
        "alex_widths": (8, 16, 24, 24, 24),
        "alex_stride": 1,
        "inception_stem": 8,
        "inception_levels": ((16, 24), (32, 32)),
        "shallow_widths": (8, 16, 32),
        "hidden": 32,
        "dropout": 0.5,
        "stack": 16,
        "windows": ((40.0, 80.0),),
        "grid": {"side": 64},
        "train": TRAIN_SCANS,
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        dtype = dtype_of(changed)
        alex_widths, shallow_widths = tuple(options["alex_widths"]), tuple(options["shallow_widths"])
        levels = tuple(tuple(widths) for widths in options["inception_levels"])
        alex = PlainVolume(alex_widths, ALEX_POOLED, ALEX_KERNELS, options["alex_stride"], dtype)
        inception = InceptionVolume(options["inception_stem"], levels, dtype)
        shallow = PlainVolume(shallow_widths, SHALLOW_POOLED, dtype=dtype)
        members = (
            VolumeClassifier(alex, (options["hidden"],), options["dropout"]),
            VolumeClassifier(inception, (), options["dropout"]),
            VolumeClassifier(shallow, (), options["dropout"]),
        )
        super().__init__(changed, VolumeEnsemble(members, options["depth"]), stack=options["stack"])


make = JnawaliMethod
