"""Predictions restricted to the inside of the skull."""

import re

import jax
import numpy as np
import pytest

from ichjax import config as configs
from ichjax.data.regrid import Geometry
from ichjax.methods.slices import SlicePredictor
from ichjax.methods.threshold import _between_inside
from ichjax.methods.views import View
from ichjax.models.network import Network
from ichjax.models.unet import UNet
from ichjax.scan.skull import inside_skull
from tests.scan.test_skull import SPACING, head

GRID = Geometry(64, 64, *SPACING[1:])


@pytest.mark.parametrize("devices", [1, 4])
def test_the_program_restricts_a_network_as_the_host_would(devices):
    network = Network(UNet(base_width=2, depth=1, dropout=0.0, norm="none", head="plain"), ((40.0, 120.0),))
    predictor = SlicePredictor(
        network, side=32, stride=16, batch_size=4, inside_skull=True, devices=jax.devices()[:devices]
    )
    weights = predictor.replicate(network.init(jax.random.key(0), 32))
    hu = head()
    restricted, everywhere, found, *_ = predictor.predict_inside(weights, hu, GRID, GRID, slice_mm=SPACING[0])
    inside, _ = inside_skull(hu, SPACING)
    assert found
    np.testing.assert_array_equal(restricted, np.where(inside, everywhere, 0))
    assert (np.asarray(everywhere)[~inside] > 0).any()
    air = np.full(hu.shape, -1000, np.int16)
    restricted, everywhere, found, *_ = predictor.predict_inside(weights, air, GRID, GRID, slice_mm=SPACING[0])
    assert not found
    np.testing.assert_array_equal(restricted, everywhere)


def test_the_work_on_each_slice_is_spread_over_the_devices():
    network = Network(UNet(base_width=2, depth=1, dropout=0.0, norm="none", head="plain"), ((40.0, 120.0),))
    predictor = SlicePredictor(network, side=32, stride=16, batch_size=4, inside_skull=True, devices=jax.devices()[:4])
    weights = predictor.replicate(network.init(jax.random.key(0), 32))
    hu = np.zeros((96, 64, 64), np.int16)  # 24 slices for each device
    program = jax.jit(predictor._predict).lower(weights, hu, 96, View(None), np.array(SPACING, np.float32)).compile()
    # Blocks of HU within a slice are one pixel here, so the op's bool and int8 arrays have the shape of slices.
    of_all, of_one = (len(re.findall(rf"= (?:pred|s8)\[{count},64,64\]", program.as_text())) for count in (96, 24))
    assert of_one > 3 * of_all > 0


@pytest.mark.methods
def test_the_threshold_method_is_restricted_too():
    hu = head()
    hu[:, :, :32][hu[:, :, :32] == 40] = 60  # skin as dense as blood
    hu[3, 30:34, 30:34] = 60
    restricted, everywhere, found = _between_inside(hu, np.array([160, 200]), np.array(SPACING, np.float32))
    assert found
    assert np.asarray(restricted)[3, 30:34, 30:34].all()
    inside, _ = inside_skull(hu, SPACING)
    np.testing.assert_array_equal(restricted, np.where(inside, everywhere, 0))
    assert np.asarray(everywhere).sum() > np.asarray(restricted).sum()


def test_the_default_has_the_digest_of_configurations_without_the_field():
    config = configs.default()
    digest = configs.digest(config)
    config.predict.inside_skull = True
    assert configs.digest(config) != digest
