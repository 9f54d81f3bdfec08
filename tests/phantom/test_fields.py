"""Fields and projector of the phantom against exact geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import interpolate

from ichjax.phantom import fields as pf
from ichjax.phantom import physics

FOV_MM = 200.0


def upright_grid(slices=6, slice_mm=5.0, **pose):
    return pf.make_grid(slices=slices, slice_mm=slice_mm, bottom_mm=-10.0, fov_mm=FOV_MM, **pose)


class TestGrid:
    def test_an_upright_head_has_scanner_coordinates(self):
        grid = upright_grid()
        assert grid.shape == (18, 128, 128)
        side = (np.arange(128) + 0.5) * FOV_MM / 128 - FOV_MM / 2
        np.testing.assert_allclose(grid.x[3, 5], side, atol=1e-4)
        np.testing.assert_allclose(grid.y[3, :, 7], side, atol=1e-4)
        # The three sub-slices of the first slice are centered on -10 mm.
        np.testing.assert_allclose(grid.z[:3, 0, 0], [-10 - 5 / 3, -10, -10 + 5 / 3], atol=1e-5)

    def test_a_smaller_head_has_larger_coordinates(self):
        np.testing.assert_allclose(upright_grid(scale=(0.5, 0.5, 0.5)).x, 2 * upright_grid().x, rtol=1e-5)

    @settings(max_examples=25, deadline=None)
    @given(
        rotation=st.tuples(*[st.floats(-20, 20)] * 3),
        shift=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
        scale=st.tuples(*[st.floats(0.6, 1.1)] * 3),
        shear=st.floats(-0.05, 0.05),
    )
    def test_to_index_inverts_the_coordinates(self, rotation, shift, scale, shear):
        grid = upright_grid(rotation_deg=rotation, shift_mm=shift, scale=scale, shear=shear)
        at = (4, 60, 75)
        head = np.array([grid.x[at], grid.y[at], grid.z[at], 1.0])
        np.testing.assert_allclose(grid.to_index @ head, at, atol=1e-3)

    def test_a_box_contains_every_point_within_its_bounds(self):
        grid = upright_grid(rotation_deg=(12, 5, -8), scale=(0.9, 1, 1.05))
        low, high = (-20, -30, -8), (15, 25, 6)
        inside = np.ones(grid.shape, bool)
        for axis, a, b in zip((grid.x, grid.y, grid.z), low, high, strict=True):
            inside &= (axis >= a) & (axis <= b)
        box = np.zeros(grid.shape, bool)
        box[grid.box(low, high, margin=0.0)] = True
        assert inside.any()
        assert not (inside & ~box).any()
        assert box.sum() < 0.5 * box.size


class TestInterpolation:
    def test_spline_matrix_matches_scipy(self):
        knots = np.random.default_rng(0).standard_normal(12)
        ours = pf.spline_matrix(30, 12, 3.7) @ knots
        # Knot k is at (k - 1) * 3.7, where B-spline k is centered.
        spline = interpolate.BSpline(np.arange(-3, 13) * 3.7, knots, 3)
        np.testing.assert_allclose(ours, spline(np.arange(30.0)), atol=1e-5)

    @pytest.mark.parametrize("factor", [2, 4])
    def test_upsampling_a_quadratic_is_exact_away_from_the_border(self, factor):
        h, w = 20, 14
        row, column = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        image = lambda r, c: 0.3 * r * r - 0.2 * r * c + 1.5 * c + 2  # noqa: E731
        fine = pf.upsample(image(row, column).astype(np.float32)[np.newaxis], factor)[0]
        assert fine.shape == (factor * h, factor * w)
        r = (np.arange(factor * h) + 0.5) / factor - 0.5
        c = (np.arange(factor * w) + 0.5) / factor - 0.5
        expected = image(r[:, np.newaxis], c[np.newaxis])
        inner = np.s_[2 * factor : -2 * factor, 2 * factor : -2 * factor]
        np.testing.assert_allclose(fine[inner], expected[inner], rtol=1e-4, atol=1e-3)

    def test_noise_has_unit_variance_and_no_detail_finer_than_its_knots(self):
        field = pf.noise(np.random.default_rng(1), (60, 128, 128), (1.6, 1.6, 1.6), 8.0)
        assert field.dtype == np.float32
        assert field.mean() == pytest.approx(0, abs=0.1)
        assert field.std() == pytest.approx(1, abs=0.12)
        power = np.abs(np.fft.rfft(field, axis=2)) ** 2
        frequency = np.fft.rfftfreq(128, 1.6)
        assert power[..., frequency > 1 / 8].sum() < 0.02 * power.sum()


class TestShapes:
    POINTS = np.random.default_rng(2).uniform(-30, 30, (3, 500)).astype(np.float32)

    def test_a_sphere_is_exact(self):
        distance = np.linalg.norm(self.POINTS - np.array([[1.0], [2], [3]]), axis=0) - 12
        np.testing.assert_allclose(pf.ellipsoid(self.POINTS, (1, 2, 3), (12, 12, 12)), distance, atol=1e-3)

    def test_a_rotated_ellipsoid_has_the_right_sign(self):
        x, y, z = self.POINTS
        distance = pf.ellipsoid(self.POINTS, (0, 0, 0), (20, 8, 12), yaw_deg=30)
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        u, v = c * x + s * y, c * y - s * x
        value = (u / 20) ** 2 + (v / 8) ** 2 + (z / 12) ** 2 - 1
        clear = np.abs(value) > 1e-3
        np.testing.assert_array_equal(distance[clear] < 0, value[clear] < 0)

    def test_a_tube_is_the_distance_to_its_axis(self):
        start, end = np.array([-5.0, 0, 2]), np.array([8.0, 10, -4])
        t = np.clip(((self.POINTS.T - start) @ (end - start)) / np.sum((end - start) ** 2), 0, 1)
        expected = np.linalg.norm(self.POINTS.T - start - t[:, None] * (end - start), axis=1) - (3 + 2 * t)
        np.testing.assert_allclose(pf.tube(self.POINTS, start, end, 3, 5), expected, atol=1e-3)

    @given(a=st.floats(-20, 20), b=st.floats(-20, 20), k=st.floats(0.1, 10))
    def test_smooth_min_is_the_minimum_less_a_fillet(self, a, b, k):
        union = float(pf.smooth_min(np.float32(a), np.float32(b), k))
        assert min(a, b) - k / 4 - 1e-3 <= union <= min(a, b) + 1e-3
        if abs(a - b) >= k:
            assert union == pytest.approx(min(a, b), abs=1e-3)
        assert float(pf.smooth_max(np.float32(-a), np.float32(-b), k)) == pytest.approx(-union, abs=1e-5)


class TestProjector:
    @staticmethod
    def disk(radius, row=0.0, column=0.0):
        """A disk on the projector's grid, with smooth edges; radius and center in pixels."""
        side = np.arange(physics.GRID) - (physics.GRID - 1) / 2
        return np.clip(radius - np.hypot(side[:, None] - row, side - column) + 0.5, 0, 1).astype(np.float32)

    def test_projections_of_a_disk_are_its_chord_lengths(self):
        soft, _ = physics.sinograms(self.disk(40)[None], np.zeros((1, 128, 128), np.float32), 1.5)
        offset = np.arange(physics.GRID) - (physics.GRID - 1) / 2
        chord = 2 * np.sqrt(np.maximum(40.0**2 - offset**2, 0)) * 1.5 * physics.WATER_PER_MM
        inner = np.abs(offset) < 36
        np.testing.assert_allclose(np.median(soft[0][:, inner], axis=0), chord[inner], rtol=0.02)
        # Rays along the diagonals of the pixels alias a little.
        assert (np.abs(soft[0][:, inner] / chord[inner] - 1) < 0.05).mean() > 0.97

    def test_back_projecting_filtered_projections_returns_the_image(self):
        image = self.disk(30, 12, -20)
        rays = (physics.projector() @ image.ravel()).reshape(1, physics.ANGLES, physics.GRID)
        again = physics.to_image(physics.ramp(rays))[0]
        assert again[image == 1].mean() == pytest.approx(1, abs=0.03)
        side = np.arange(physics.GRID) - (physics.GRID - 1) / 2
        far = (np.hypot(side[:, None] - 12, side + 20) > 36) & (np.hypot(side[:, None], side) < 55)
        assert np.abs(again[far]).max() < 0.08

    def test_beam_hardening_is_corrected_in_water_but_not_near_bone(self):
        soft, bone = self.disk(45)[None], np.zeros((1, 128, 128), np.float32)
        water, _, _ = physics.scan_errors(np.random.default_rng(0), soft, bone, 1.6, 1e7)
        inner = self.disk(38) == 1
        assert np.abs(water[0][inner]).max() < 5
        ring = self.disk(45)[None] - self.disk(41)[None]
        skull, _, _ = physics.scan_errors(np.random.default_rng(0), soft - ring, ring * 2.2, 1.6, 1e7)
        near, middle = inner & (self.disk(34) == 0), self.disk(15) == 1
        assert skull[0][near].mean() > skull[0][middle].mean() + 4  # cupping: brighter towards the skull

    def test_noise_grows_with_attenuation_and_has_the_predicted_sd(self):
        soft, bone = self.disk(45)[None], np.zeros((1, 128, 128), np.float32)
        scans = [physics.scan_errors(np.random.default_rng(s), soft, bone, 1.6, 1e7) for s in range(12)]
        noise = np.concatenate([n for _, n, _ in scans])
        expected = scans[0][2][0]
        middle, edge = self.disk(12) == 1, (self.disk(44) == 1) & (self.disk(40) == 0)
        assert noise[:, middle].std() == pytest.approx(expected[middle].mean(), rel=0.25)
        assert noise[:, middle].std() > 1.2 * noise[:, edge].std()
