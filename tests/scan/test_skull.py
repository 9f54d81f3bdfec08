"""The inside of the skull on hand-made heads."""

import numpy as np

from ichjax.scan.skull import inside_skull

SPACING = (5.0, 3.0, 3.0)


def bony_ring(shape, radius, thickness):
    """int16 [H, W]: brain in a ring of bone, skin around it, in pixels."""
    rows, columns = np.indices(shape)
    distance = np.hypot(rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2)
    hu = np.full(shape, -1000, np.int16)
    for edge, value in ((radius + thickness + 2, 40), (radius + thickness, 1000), (radius, 30)):
        hu[distance < edge] = value
    return hu


def head(radii=(4, 15, 20, 22, 20, 14, 0)):
    """int16 [7, 64, 64]: a spinal canal, four slices of the vault and its top, and a cap of bone."""
    return np.stack([bony_ring((64, 64), radius, 3) for radius in radii])


def brain(plane):
    return plane == 30


def test_brain_is_inside_and_bone_and_skin_are_not():
    hu = head()
    inside, found = inside_skull(hu, SPACING)
    assert found
    np.testing.assert_array_equal(inside[1:6], brain(hu[1:6]))
    assert not inside[6].any()


def test_the_spinal_canal_ends_below_the_skull():
    inside, _ = inside_skull(head((4, 4, 4, 4, 15, 20, 22)), SPACING)
    assert not inside[:2].any()
    assert inside[4:].any(axis=(1, 2)).all()


def test_a_scan_without_a_skull_is_not_restricted():
    for hu in (
        np.full((3, 40, 40), 30, np.int16),
        np.full((3, 40, 40), -1000, np.int16),
        np.full((3, 40, 40), 900, np.int16),
    ):
        inside, found = inside_skull(hu, SPACING)
        assert not found
        assert inside.all()


def test_a_ring_open_at_a_suture_is_closed_and_a_wide_opening_is_not():
    hu = head()
    hu[3, :32, 31:33] = np.where(hu[3, :32, 31:33] == 1000, 40, hu[3, :32, 31:33])
    inside, _ = inside_skull(hu, SPACING)
    assert inside[3][brain(hu[3])].all()
    assert not inside[3, :8].any()
    only = bony_ring((64, 64), 22, 3)[None]
    only[:, :, 40:][only[:, :, 40:] == 1000] = 40
    assert not inside_skull(only, SPACING)[1]


def test_below_the_largest_slice_one_without_a_ring_gets_what_its_neighbors_share():
    hu = head((15, 20, 22, 22, 22, 20, 15))
    hu[1][hu[1] == 1000] = 40  # no bone at all
    inside, _ = inside_skull(hu, SPACING)
    np.testing.assert_array_equal(inside[1], inside[0] & inside[2])


def test_above_the_largest_slice_tissue_near_the_last_inside_replaces_a_ring():
    hu = head((15, 20, 22, 22, 22, 20, 15))
    hu[3:, :, 40:][hu[3:, :, 40:] == 1000] = 40  # bone is missing on one side, up to the vertex
    inside, _ = inside_skull(hu, SPACING)
    assert inside[brain(hu)].all()
    assert not inside[3:, :, :8].any()  # beyond the bone of the other side


def test_calcifications_metal_and_air_inside_are_kept_and_a_space_outside_is_not():
    hu = head()
    hu[3, 30:34, 30:34], hu[3, 40:43, 30:33], hu[2, 30:33, 30:33] = 300, 3000, -1000
    inside, _ = inside_skull(hu, SPACING)
    assert inside[3, 30:34, 30:34].all()
    assert inside[3, 40:43, 30:33].all()
    assert inside[2, 30:33, 30:33].all()
    nested = head((0, 22, 22, 22, 22, 22, 0))
    nested[3, 2:12, 2:12], nested[3, 4:10, 4:10] = 1000, 30  # another ring beside the head
    assert not inside_skull(nested, SPACING)[0][3, 2:12, 2:10].any()
