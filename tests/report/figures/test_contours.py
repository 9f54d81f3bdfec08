import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ichjax.report.figures import contours

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.booleans())


def even_odd(loops, shape):
    """Fills outlines by the even-odd rule at pixel centers, one ray per row."""
    filled = np.zeros(shape, dtype=bool)
    for loop in loops:
        ends = np.roll(loop, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(loop, ends, strict=True):
            if x0 == x1:  # a vertical edge toggles everything to its right
                filled[min(y0, y1) : max(y0, y1), x0:] ^= True
    return filled


def corners_of(path):
    """The corners of each subpath of an SVG path made of M, h, v and z."""
    loops = []
    for sub in path.split("z")[:-1]:
        x, y = map(int, re.match(r"M(\d+) (\d+)", sub).groups())
        loop = [(x, y)]
        for kind, step in re.findall(r"([hv])(-?\d+)", sub):
            x, y = (x + int(step), y) if kind == "h" else (x, y + int(step))
            loop.append((x, y))
        loops.append(np.array(loop))
    return loops


@given(MASKS)
def test_filling_the_outlines_restores_the_mask(mask):
    assert (even_odd(contours.trace(mask), mask.shape) == mask).all()


@given(MASKS)
def test_the_svg_path_is_the_same_outline(mask):
    loops, expected = corners_of(contours.svg_path(mask)), contours.trace(mask)
    assert len(loops) == len(expected)
    assert all((a == b).all() for a, b in zip(loops, expected, strict=True))


@given(MASKS)
def test_every_corner_is_a_turn(mask):
    for loop in contours.trace(mask):
        steps = np.roll(loop, -1, axis=0) - loop
        assert ((steps != 0).sum(axis=1) == 1).all()
        assert ((steps[:, 0] != 0) != (np.roll(steps, -1, axis=0)[:, 0] != 0)).all()


@given(MASKS)
def test_one_outline_per_region_and_hole(mask):
    regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    around = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    holes = cv2.connectedComponents(around, connectivity=8)[0] - 2
    assert len(contours.trace(mask)) == regions + holes


def test_a_rectangle_by_hand():
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 1:4] = True
    assert sorted(map(tuple, contours.trace(mask)[0])) == [(1, 1), (1, 3), (4, 1), (4, 3)]
    assert contours.svg_path(mask) in {"M4 1v2h-3v-2z", "M1 1h3v2h-3z", "M4 3h-3v-2h3z", "M1 3v-2h3v2z"}
    assert contours.svg_path(np.zeros((3, 3), dtype=bool)) == ""


def luminance(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722], linear


def lab(linear):
    """CIELAB (D65) of linear sRGB."""
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


@pytest.mark.parametrize("vision", VISION)
def test_colors_differ_from_each_other_and_from_every_gray(vision):
    truth, prediction = (
        VISION[vision] @ luminance(rgb(c))[1] for c in (contours.TRUTH_COLOR, contours.PREDICTION_COLOR)
    )
    assert np.linalg.norm(lab(truth.clip(0, 1)) - lab(prediction.clip(0, 1))) > 60
    for gray in np.linspace(0, 1, 33):
        background = VISION[vision] @ luminance(np.full(3, gray))[1]
        for color in (truth, prediction):
            assert np.linalg.norm(lab(color.clip(0, 1)) - lab(background.clip(0, 1))) > 25


@pytest.mark.parametrize("color", [contours.TRUTH_COLOR, contours.PREDICTION_COLOR])
def test_contrast_against_the_casing(color):
    bright, dark = luminance(rgb(color))[0], luminance(rgb(contours.CASING_COLOR))[0]
    assert (bright + 0.05) / (dark + 0.05) > 7  # WCAG 2.1, level AAA
