"""Priors and classes of pixels move with the image, and changes of HU leave them alone: seen by the loss of a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ichjax.models.class_network import ClassNetwork
from ichjax.models.residual_unet import ResidualUNet
from ichjax.ops.augment import AffineRange
from ichjax.train import augmentation
from ichjax.train import state as states
from ichjax.train import step as steps

STILL = AffineRange(0.0, 0.0, 0.0, 0.0)
SHAPE = ("affine", "elastic", "mirror")


@dataclasses.dataclass(frozen=True)
class Compares(ClassNetwork):
    """Its loss is the share of pixels whose prior or class is not that of the mask."""

    exact: bool = False

    def loss(self, params, images, masks, *, dropout_keys, classes=None):
        prior = images[..., -1] if self.exact else (images[..., -1] >= 0.5).astype(jnp.float32)
        wrong = (prior != masks) | ((classes > 0) != (masks > 0))
        wrong |= ~jnp.isin(classes, jnp.array([0, 3, 6]))
        still_there = (masks.sum() > 0) & (classes == 3).any() & (classes == 6).any()
        return wrong.mean(axis=(1, 2)) + jnp.where(still_there, 0.0, 1.0) + 0.0 * sum(map(jnp.sum, params.values()))


def loss_of(config, ranges, **fields):
    """The loss of a step on examples whose prior is 1000 on the mask: SAH in its upper half, unknown in the lower."""
    network = Compares(ResidualUNet(1, 1, 1, (1, 1)), ((40.0, 80.0),), **fields)
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[:, 4:8, 4:11], mask[:, 8:11, 4:11] = 3, 255
    hu = np.random.default_rng(0).integers(-40, 130, mask.shape)
    image = np.stack([hu, 1000 * (mask > 0)], axis=-1).astype(np.int16)
    batch = {"image": image, "mask": mask, "index": np.arange(8, dtype=np.int32), "weight": np.ones(8, np.float32)}
    optimizer = optax.sgd(0.0)
    params = {"none": jnp.zeros(())}
    state = states.TrainState(jnp.int32(0), jnp.int32(0), params, optimizer.init(params))
    settings = steps.StepSettings(ranges, 0, recipe=augmentation.from_config(config))
    _, metrics = jax.jit(steps.make_train_step(network, optimizer, settings))(state, batch)
    return float(metrics["loss"].mean())


def drawn(tiny_config, accepts):
    """A configuration whose transforms of accepted names are always drawn."""
    fields = [field for field in tiny_config().transforms if field.endswith("_probability")]
    assert len(fields) == 11
    return tiny_config(**{f"transforms.{field}": 1.0 for field in fields if accepts(field)})


@pytest.mark.parametrize("name", SHAPE)
def test_both_move_with_the_mask(tiny_config, name):
    """In one change of shape: the mask is binarized after each, the prior is not."""
    assert loss_of(drawn(tiny_config, lambda field: field.startswith(name)), STILL) == 0.0


def test_both_move_with_the_mask_in_the_affine_transform_of_the_paper(tiny_config):
    assert loss_of(tiny_config(), AffineRange(20.0, 0.1, 0.1, 0.2)) == 0.0


def test_changes_of_hu_and_of_windowed_images_leave_them_alone(tiny_config):
    assert loss_of(drawn(tiny_config, lambda field: not field.startswith(SHAPE)), STILL, exact=True) == 0.0


def test_the_numbers_of_shapes_are_those_of_the_recipe(tiny_config):
    config = drawn(tiny_config, lambda field: field.startswith(SHAPE))
    assert [number for number, _ in augmentation.from_config(config).hu] == list(range(augmentation.SHAPES))
