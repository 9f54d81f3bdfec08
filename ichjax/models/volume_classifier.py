"""Networks that classify whole scans: the slices are resampled to a fixed number, and 3-D networks see the volume.

Dense layers work on the features of one position, which gives each position logits of the sub-types: the class
activation maps (Zhou et al., 2016). A scan's logits are soft maxima of them (Pinheiro and Collobert, 2015), as a mean
over a scan tells too little of a hemorrhage that covers a hundredth of it.
"""

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models import slice_head
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.models.slice_classifier import keys_of, log_mean_exp
from ichjax.models.slice_head import LABEL_WEIGHTS
from ichjax.models.unet import dropout
from ichjax.ops import losses, resample

LABELS = len(LABEL_WEIGHTS)
MIN_RANGE = 1e-6  # of a map; below it, a map is constant


class VolumeOutput(NamedTuple):
    """The output of a classifier of volumes.

    Attributes:
      logits: float32 [B, 6], of the sub-types and of any hemorrhage.
      maps: float32 [B, z, h, w, 6], whose soft maxima they are.
    """

    logits: jax.Array
    maps: jax.Array


class VolumeClassifier(nn.Module):
    """Logits of each position from the features of a backbone, and their soft maxima.

    Attributes:
      backbone: maps images [B, Z, H, W, C] to features [B, z, h, w, K].
      hidden: features of each dense layer before the last; 'two dense layers' are one here.
      dropout: rate, in training, before the last dense layer.
    """

    backbone: nn.Module
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> VolumeOutput:
        """The scan's logits and their maps from images [B, Z, H, W, C]."""
        x = cast(jax.Array, self.backbone(images)).astype(jnp.float32)
        for number, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f"hidden{number + 1}")(x))
        # The same channels at all positions, which would make up for each other.
        kept = dropout(jnp.ones((len(x), x.shape[-1])), dropout_keys, self.dropout, salt=0)
        x = x * kept[:, None, None, None]
        maps = nn.Dense(LABELS, kernel_init=nn.initializers.zeros, name="out")(x)
        return VolumeOutput(log_mean_exp(maps.reshape(len(maps), -1, 1, maps.shape[-1])), maps)


class VolumeEnsemble(nn.Module):
    """Classifiers of volumes that are trained side by side, each by its own loss.

    Attributes:
      members: the classifiers.
      depth: Z, the slices to which scans are resampled.
    """

    members: tuple[VolumeClassifier, ...]
    depth: int

    def __call__(
        self, slices: jax.Array, count: jax.Array, *, dropout_keys: jax.Array | None = None
    ) -> tuple[VolumeOutput, ...]:
        """The output of each member.

        Args:
          slices: float32 [B, L, H, W, C], the slices of each scan in order, then padding.
          count: int32 [B], the slices that are not padding.
          dropout_keys: one PRNG key per scan [B], or None.
        """
        volumes = resample.to_depth(slices, count, depth=self.depth)
        outputs = []
        for number, member in enumerate(self.members):
            keys = None if dropout_keys is None else keys_of(dropout_keys, number)
            outputs.append(member(volumes, dropout_keys=keys))
        return tuple(outputs)


@dataclasses.dataclass(frozen=True)
class VolumeNetwork(SequenceNetwork):
    """A network on whole scans from a `VolumeEnsemble`; it learns labels of scans, and no pixels.

    Longer scans than `stack` are learned in parts; any scan is predicted as one. A pixel's probability is the mean over
    members of the scan's score times the map of any hemorrhage, in which negative values are 0 and the highest is 1.
    """

    slice_head_weight: float = 1.0
    segments: bool = False

    def init(self, key: jax.Array, side: int) -> dict:
        """Initial parameters for slices of side P, from one PRNG key."""
        slices = jnp.zeros((1, 1, side, side, len(self.windows)))
        return self.module.init(key, slices, jnp.ones(1, jnp.int32))["params"]

    def validation_truth(self, masks: jax.Array, **stack: jax.Array) -> jax.Array:
        """Whether each scan has a hemorrhage: float32 [B, 1, 1], from masks [B, H, W, L]."""
        return masks.any(axis=(1, 2, 3))[:, None, None].astype(jnp.float32)

    def encode(self, params: dict, images: jax.Array) -> jax.Array:
        """The images themselves, as all that follows sees the whole scan."""
        return images

    def mix(self, params: dict, features: jax.Array, real: jax.Array) -> jax.Array:
        """What the slices of whole scans are predicted from: float32 [B, L, h, w, 7].

        Args:
          params: of the module.
          features: float32 [B, L, H, W, C], the slices.
          real: bool [B, L], True for the first slices, False for padding.

        Returns:
          In the first channel the probability of pixels, on a coarse grid; the others are the scores of the slice, the
          same at all positions. A sub-type's score is that of the scan times 0 on the slice where its map rises least,
          1 where it rises most, and linear between them; the highest of a scan is therefore the scan's.
        """
        count, length = real.sum(axis=1), real.shape[1]
        outputs = self._outputs(params, features, count)
        size = max(output.maps.shape[2] for output in outputs), max(output.maps.shape[3] for output in outputs)
        scores = jnp.stack([nn.sigmoid(output.logits) for output in outputs])
        own, peaks = [], []
        for output, score in zip(outputs, scores, strict=True):
            maps = jnp.maximum(output.maps[..., -1], 0.0)
            maps = maps / jnp.maximum(maps.max(axis=(1, 2, 3), keepdims=True), MIN_RANGE)
            maps = resample.from_depth(maps, count, length=length)
            maps = jax.image.resize(maps, (*maps.shape[:2], *size), "linear")
            own.append(score[:, -1, None, None, None] * jnp.clip(maps, 0.0, 1.0))
            peaks.append(resample.from_depth(output.maps.max(axis=(2, 3)), count, length=length))
        probability = jnp.stack(own).mean(axis=0)
        slices = scores.mean(axis=0)[:, None] * _relative(jnp.stack(peaks).mean(axis=0), real)
        shape = (*probability.shape, LABELS)
        return jnp.concatenate([probability[..., None], jnp.broadcast_to(slices[:, :, None, None], shape)], axis=-1)

    def decode(self, params: dict, images: jax.Array, mixed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(probability [N, H, W], scores [N, 6]) of slices, from their images and the result of `mix` [N, h, w, 7]."""
        probability = jax.image.resize(mixed[..., 0], images.shape[:3], "linear")
        return jnp.clip(probability, 0.0, 1.0), mixed[:, 0, 0, 1:]

    def loss(  # type: ignore[override]
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        slices: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """As `SequenceNetwork.loss`: the weighted log-loss of the scan's labels, a mean over the members."""
        outputs = self._outputs(params, self._by_slice(images), slices, dropout_keys=dropout_keys)
        side_by_side = [x.reshape(*x.shape[:2], -1) for x in (cast(jax.Array, classes), masks)]
        truth, known = slice_head.slice_labels(*side_by_side)
        return jnp.stack([slice_head.slice_loss(output.logits, truth, known) for output in outputs]).mean(axis=0)

    def validate(self, params: dict, images: jax.Array, masks: jax.Array, *, slices: jax.Array) -> Any:  # type: ignore[override]
        """(cross-entropy of any hemorrhage [B], its probability [B, 1, 1]) of scans."""
        outputs = self._outputs(params, self._by_slice(images), slices)
        score = jnp.stack([nn.sigmoid(output.logits[:, -1]) for output in outputs]).mean(axis=0)[:, None, None]
        return losses.probability_cross_entropy(score, self.validation_truth(masks)), score

    def _by_slice(self, images: jax.Array) -> jax.Array:
        """[B, H, W, L C] as [B, L, H, W, C]."""
        return jnp.moveaxis(images.reshape(*images.shape[:3], self.stack, -1), 3, 1)

    def _outputs(self, params: dict, slices: jax.Array, count: jax.Array, **options: Any) -> tuple[VolumeOutput, ...]:
        return cast(Any, self.module.apply({"params": params}, slices, count, **options))


def _relative(peaks: jax.Array, real: jax.Array) -> jax.Array:
    """[B, L, 6] as 0 at the lowest and 1 at the highest of the real slices of each scan; 1 where all are the same."""
    keep = real[..., None]
    low = jnp.where(keep, peaks, jnp.inf).min(axis=1, keepdims=True)
    height = jnp.where(keep, peaks, -jnp.inf).max(axis=1, keepdims=True) - low
    return jnp.where(height > MIN_RANGE, jnp.clip((peaks - low) / jnp.maximum(height, MIN_RANGE), 0.0, 1.0), 1.0)
