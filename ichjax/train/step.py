"""The training step and the validation step, shared by jit, pmap and shard_map."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import optax

from ichjax.models.network import Network
from ichjax.ops import augment, losses, subtypes
from ichjax.train import augmentation
from ichjax.train.state import TrainState

Metrics = dict[str, jax.Array]
DeviceBatch = dict[str, jax.Array]  # a `loader.Batch` on the devices
RECIPE_SALT = 2  # separates the random numbers of `augmentation` from those of the affine transform and of dropout


class Update(TypedDict):
    """The metrics of one update, on the host."""

    loss: float
    gradient_norm: float
    finite: bool


class StepSettings(NamedTuple):
    """Settings of a step besides the network.

    Attributes:
      ranges: of the random augmentation.
      seed: of all random numbers.
      accumulate: number of parts in which a batch passes through the network (gradient accumulation).
      skip_nonfinite: skip updates whose loss or gradient is not finite.
      recipe: random transforms besides.
    """

    ranges: augment.AffineRange
    seed: int | jax.Array
    accumulate: int = 1
    skip_nonfinite: bool = False
    recipe: augmentation.Recipe = augmentation.Recipe()


def example_keys(seed: int | jax.Array, fold: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
    """PRNG keys [B], functions of (seed, fold, step, example index) alone, not of devices or the rest of the batch."""
    base = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), fold), 1)
    at_step = jax.random.fold_in(base, step)
    return jax.vmap(lambda i: jax.random.fold_in(at_step, i))(index)


def make_train_step(
    network: Network, optimizer: optax.GradientTransformation, settings: StepSettings, *, axis: str | None = None
) -> Callable:
    """Returns train_step(state, batch) -> (state, {'loss', 'gradient_norm', 'finite'}).

    HU window -> augmentation -> network -> loss -> gradient -> optimizer, on a `loader.Batch`. Under pmap and shard_map
    loss and gradient are averaged over the device axis `axis`; under jit it is None, since the batch is global and the
    compiler reduces over the devices. 'loss' is then that of each example, float32 [B]: a mean in float32 would be an
    all-reduce besides that of bfloat16 gradients. 'finite' is False if a loss or the gradient is not; with
    `skip_nonfinite`, parameters and optimizer state then do not change, but the step counts.
    """

    def mean_loss(params: dict[str, Any], batch: DeviceBatch, state: TrainState) -> tuple[jax.Array, jax.Array]:
        keys = example_keys(settings.seed, state.fold, state.step, batch["index"])
        warp_keys, dropout_keys = jnp.unstack(jax.vmap(lambda key: jax.random.split(key, 2))(keys), axis=1)
        recipe_keys = jax.vmap(lambda key: jax.random.fold_in(key, RECIPE_SALT))(keys)
        # Classes of pixels are learned from where the reader gives them as the mask.
        classes = {"classes": batch["mask"]} if network.learns_classes else {}
        masks = (batch["mask"] > 0 if classes else batch["mask"]).astype(jnp.float32)
        # Those of sub-types, and the masks of a stack's slices, move with the image, as its last channels.
        planes = subtypes.class_planes(batch["mask"])[..., 1:] if network.subtypes else None
        if network.stack:
            planes, masks = masks, masks[..., 0]
        kept = network.priors + _channels(planes)
        image = _join(batch["image"], planes)
        hu, masks = augmentation.apply(settings.recipe.hu, recipe_keys, image, masks, shape_only=kept)
        hu, planes = _part(hu, planes)
        images = network.mark_corner(network.images(hu))
        if any(settings.ranges):
            images, masks = augment.augment(warp_keys, _join(images, planes), masks, settings.ranges)
            images, planes = _part(images, planes)
        recipe = settings.recipe.windowed
        images, masks = augmentation.apply(recipe, recipe_keys, images, masks, shape_only=network.priors)
        labels: dict[str, jax.Array] = classes
        if network.stack and planes is not None:
            masks, labels = (planes >= 0.5).astype(jnp.float32), classes | _stack_fields(batch)
        elif planes is not None:
            labels = {"classes": subtypes.classes_of_planes(planes, masks)}
        losses = network.loss(params, images, masks, dropout_keys=dropout_keys, **labels)
        # Where a loss is not finite, neither is the gradient: every device knows of it without a sum of losses.
        return (losses * jnp.where(jnp.isfinite(losses), 1.0, jnp.nan)).mean(), losses

    def train_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        loss_and_gradient = jax.value_and_grad(mean_loss, has_aux=True)
        loss, gradient = _accumulate(loss_and_gradient, state, batch, settings.accumulate)
        if axis is not None:
            loss, gradient = jax.lax.pmean((loss.mean(), gradient), axis)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(norm)
        if settings.skip_nonfinite:
            old, new = (state.params, state.opt_state), (params, opt_state)
            params, opt_state = jax.tree.map(lambda was, now: jnp.where(finite, now, was), old, new)
        metrics = {"loss": loss, "gradient_norm": norm, "finite": finite}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return train_step


def _stack_fields(batch: DeviceBatch) -> dict[str, jax.Array]:
    """What the loss of stacks gets besides images and masks (`data.stacks.StackBatch`)."""
    return {name: batch[name] for name in ("slices", "labels", "has_mask") if name in batch}


def _channels(planes: jax.Array | None) -> int:
    return 0 if planes is None else planes.shape[-1]


def _join(images: jax.Array, planes: jax.Array | None) -> jax.Array:
    """Images [B, P, P] or [B, P, P, C] with planes of classes as their last channels; as they are without planes."""
    if planes is None:
        return images
    channels = images.reshape(*images.shape[:3], -1)
    return jnp.concatenate([channels.astype(jnp.float32), planes], axis=-1)


def _part(images: jax.Array, planes: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """The images and the planes that `_join` made one."""
    if planes is None:
        return images, None
    count = planes.shape[-1]
    return images[..., :-count], images[..., -count:]


def _accumulate(
    loss_and_gradient: Callable, state: TrainState, batch: DeviceBatch, parts: int
) -> tuple[jax.Array, dict[str, Any]]:
    """Losses [B] and gradient of a batch, computed in `parts` equal parts to save memory (gradient accumulation).

    Each part takes every `parts`-th example, so that each of several devices already holds its share of every part.
    """

    def of_part(part: DeviceBatch) -> tuple[dict[str, Any], jax.Array]:
        (_, losses), gradient = loss_and_gradient(state.params, part, state)
        return gradient, losses

    if parts == 1:
        gradient, losses = of_part(batch)
        return losses, gradient
    split = jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total: dict[str, Any], part: DeviceBatch) -> tuple[dict[str, Any], jax.Array]:
        gradient, losses = of_part(part)
        return jax.tree.map(jnp.add, total, gradient), losses

    gradient, losses = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), split)
    return losses.swapaxes(0, 1).reshape(-1), jax.tree.map(lambda x: x / parts, gradient)


def make_validation_step(network: Network) -> Callable:
    """Returns validation_step(params, batch) -> sums that add up exactly over batches, without padding.

    {'examples', 'loss', 'intersection', 'union' (soft), 'overlap', 'area' (of masks at 0.5), 'lowest', 'highest'}:
    float32 [] each; the 'lowest' and 'highest' probability reveal a network that died to a constant output.
    """

    def validation_step(params: dict[str, Any], batch: DeviceBatch) -> Metrics:
        weight = batch["weight"]
        truth = batch["mask"].astype(jnp.float32)
        images = network.mark_corner(network.images(batch["image"]))
        stack = _stack_fields(batch) if network.stack else {}
        loss, probability = network.validate(params, images, truth, **stack)
        truth = network.validation_truth(truth, **stack)
        # The slices of a stack are one image here, as long as all of them.
        probability, truth = (x.reshape(*x.shape[:2], -1) for x in (probability, truth))
        intersection, union = losses.soft_overlap(probability, truth)
        mask = (probability > 0.5).astype(jnp.float32)
        real = weight[:, None, None] > 0
        return {
            "examples": weight.sum(),
            "loss": (loss * weight).sum(),
            "intersection": (intersection * weight).sum(),
            "union": (union * weight).sum(),
            "overlap": ((mask * truth).sum(axis=(1, 2)) * weight).sum(),
            "area": ((mask + truth).sum(axis=(1, 2)) * weight).sum(),
            "lowest": jnp.where(real, probability, 1.0).min(),
            "highest": jnp.where(real, probability, 0.0).max(),
        }

    return validation_step


class Validation(TypedDict):
    """Scores of the validation patches: the Jaccard index is soft, Dice is of masks at 0.5."""

    validation_loss: float
    validation_jaccard: float
    validation_dice: float
    constant_output: bool


def merge(sums: list[Metrics]) -> Validation:
    """Merges the sums of several batches."""
    total = {name: sum(float(s[name]) for s in sums) for name in sums[0]}
    spread = max(float(s["highest"]) for s in sums) - min(float(s["lowest"]) for s in sums)
    return {
        "validation_loss": total["loss"] / total["examples"],
        "validation_jaccard": total["intersection"] / max(total["union"], 1e-12),
        "validation_dice": 2 * total["overlap"] / max(total["area"], 1.0),
        "constant_output": spread < 1e-6,
    }
