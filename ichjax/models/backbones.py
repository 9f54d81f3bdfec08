"""Feature extractors by name, in the size of their source or small: what classifiers are made of."""

import flax.linen as nn
import jax

from ichjax.models.googlenet import POOLED_BEFORE, GoogLeNet
from ichjax.models.inception import InceptionResNetV2, InceptionV3
from ichjax.models.resnet import ResNet
from ichjax.models.vgg import Vgg

NAMES = ("vgg16", "resnet18", "resnet50", "googlenet", "inception_v3", "inception_resnet_v2")


def make(name: str, *, width: int, fine: bool, dtype: jax.typing.DTypeLike) -> nn.Module:
    """A feature extractor.

    Args:
      name: one of `NAMES`.
      width: of its first stage; 64 for the source's size.
      fine: whether its last features have twice or four times the resolution of the source's, for small images.
      dtype: of the computation.

    Raises:
      ValueError: there is no such name.
    """
    if name == "vgg16":
        return Vgg(width, pools=3 if fine else 4, dtype=dtype)
    if name in ("resnet18", "resnet50"):
        return ResNet(int(name[-2:]), width, pooled_stem=not fine, last_stride=1 if fine else 2, dtype=dtype)
    if name == "googlenet":
        return GoogLeNet(width, pooled_before=POOLED_BEFORE[1:2] if fine else POOLED_BEFORE, dtype=dtype)
    if name == "inception_v3":
        return InceptionV3(width, pooled_stem=not fine, dtype=dtype)
    if name == "inception_resnet_v2":
        return InceptionResNetV2(width, pooled_stem=not fine, dtype=dtype)
    raise ValueError(f"backbone {name!r}; expected one of {', '.join(NAMES)}")
