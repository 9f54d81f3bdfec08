"""The one training step, and the one validation step, that every way of running on devices shares."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ichjax.models.network import Network
from ichjax.ops import augment, losses
from ichjax.train.state import TrainState


class StepSettings(NamedTuple):
    """What a step needs besides the network.

    Attributes:
      ranges: of the random augmentation.
      seed: of everything random.
      accumulate: number of parts in which a batch goes through the network.
      skip_nonfinite: skip an update whose loss or gradient is not finite.
    """

    ranges: augment.AffineRange
    seed: int
    accumulate: int = 1
    skip_nonfinite: bool = False


def example_keys(seed: int, fold: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
    """PRNG keys [B] that depend on (seed, fold, step, example index) alone, so on no device and no neighbour."""
    base = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), fold), 1)
    at_step = jax.random.fold_in(base, step)
    return jax.vmap(lambda i: jax.random.fold_in(at_step, i))(index)


def make_train_step(
    network: Network, optimizer: optax.GradientTransformation, settings: StepSettings, *, axis: str | None = None
) -> Callable:
    """Returns train_step(state, batch) -> (state, {'loss', 'gradient_norm', 'finite'}).

    window -> augment -> network -> the network's loss -> gradient -> Adam, on a `loader.Batch`. Under pmap and
    shard_map `axis` names the devices' axis, over which gradient and loss are averaged; under jit it is None, as
    the batch is global and the compiler reduces over the devices. 'finite' is False where loss or gradient is not;
    with `skip_nonfinite` parameters and optimizer then stay as they were, and the step counts as made.
    """

    def loss_of(params, batch, state):
        keys = example_keys(settings.seed, state.fold, state.step, batch["index"])
        warp_keys, dropout_keys = jnp.unstack(jax.vmap(lambda key: jax.random.split(key, 2))(keys), axis=1)
        masks = batch["mask"].astype(jnp.float32)
        images = network.mark_corner(network.images(batch["image"]))
        images, masks = augment.augment(warp_keys, images, masks, settings.ranges)
        return network.loss(params, images, masks, dropout_keys=dropout_keys).mean()

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        loss, gradient = _in_parts(jax.value_and_grad(loss_of), state, batch, settings.accumulate)
        if axis is not None:
            loss, gradient = jax.lax.pmean((loss, gradient), axis)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        if settings.skip_nonfinite:
            old, new = (state.params, state.opt_state), (params, opt_state)
            params, opt_state = jax.tree.map(lambda was, now: jnp.where(finite, now, was), old, new)
        metrics = {"loss": loss, "gradient_norm": norm, "finite": finite}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return train_step


def _in_parts(loss_and_gradient: Callable, state: TrainState, batch: dict, parts: int) -> tuple[jax.Array, dict]:
    """Loss and gradient of a batch, one of `parts` equal parts of it in memory at a time (gradient accumulation).

    A part takes every `parts`-th example, so that on several devices each holds its share of every part and nothing
    moves between them.
    """
    if parts == 1:
        return loss_and_gradient(state.params, batch, state)
    split = jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total, part):
        return jax.tree.map(jnp.add, total, loss_and_gradient(state.params, part, state)), None

    shapes = jax.eval_shape(loss_and_gradient, state.params, jax.tree.map(lambda x: x[0], split), state)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda x: x / parts, total)


def make_validation_step(network: Network) -> Callable:
    """Returns validation_step(params, batch) -> sums that add up exactly over batches, padding left out.

    {'examples', 'loss', 'intersection', 'union' (soft), 'overlap', 'area' (of masks at 0.5), 'lowest', 'highest'}:
    float32 [] each; 'lowest' and 'highest' probability tell a network that died to a constant output.
    """

    def validation_step(params: dict, batch: dict) -> dict:
        weight = batch["weight"]
        truth = batch["mask"].astype(jnp.float32)
        images = network.mark_corner(network.images(batch["image"]))
        loss, probability = network.validate(params, images, truth)
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


def merge(sums: list[dict]) -> dict:
    """Adds up the sums of several batches into {'validation_loss', 'validation_jaccard' (soft),
    'validation_dice' (of masks at 0.5), 'constant_output'}."""
    total = {name: sum(float(s[name]) for s in sums) for name in sums[0]}
    spread = max(float(s["highest"]) for s in sums) - min(float(s["lowest"]) for s in sums)
    return {
        "validation_loss": total["loss"] / total["examples"],
        "validation_jaccard": total["intersection"] / max(total["union"], 1e-12),
        "validation_dice": 2 * total["overlap"] / max(total["area"], 1.0),
        "constant_output": spread < 1e-6,
    }
