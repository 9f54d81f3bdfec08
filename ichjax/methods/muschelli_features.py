"""The features of each voxel in the method of Muschelli et al. (2017), on the working grid, on the device.

Neighborhoods are 3 x 3 x 3 voxels, here of 1 x 1 mm by the spacing of slices; the published ones are of 1 mm.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ichjax.methods.heads import PIXEL_MM, Head
from ichjax.ops import brain_pose, local_moments, morphology

MAX_BRAIN_HU = 100  # brain and blood are 0 to this
BLOOD_HU = (40.0, 80.0)
VOXEL_FEATURES = (
    "mean", "sd", "skew", "kurtosis", "value", "in_blood_range", "z_sagittal", "z_coronal", "z_axial", "z_winsorized",
    "share_in_blood_range", "bright_classes", "share_outside", "any_outside", "centroid_mm", "smooth_5_mm",
    "smooth_10_mm", "smooth_20_mm", "z_template", "mirror_difference",
)  # fmt: skip
SMOOTHING_MM = (5.0, 10.0, 20.0)
WINSOR_SHARE = 0.2  # of the voxels at each end
CLASSES, CLASS_STEPS = 4, 50  # of k-means
TEMPLATE_CELLS, CELL_SIZE = 40, 0.15  # of the template along each axis, in units of the brain's size: about 5 mm
MIN_TEMPLATE_SD_HU = 3.0


class Features(NamedTuple):
    """Features of a head.

    Attributes:
      maps: float32 [F, D, h, w], in the order of `VOXEL_FEATURES`; 0 outside the brain.
      brain: bool [D, h, w], voxels of 0 to 100 HU inside the skull, one pixel from its edge.
    """

    maps: jax.Array
    brain: jax.Array


class Template(NamedTuple):
    """The HU of brains without hemorrhage at each place along the brain's own axes.

    Attributes:
      mean, sd: float32 [TEMPLATE_CELLS, TEMPLATE_CELLS, TEMPLATE_CELLS].
    """

    mean: jax.Array
    sd: jax.Array


def spacing_mm(head: Head) -> jax.Array:
    """float32 [3], of slices, rows and columns."""
    return jnp.stack([jnp.asarray(head.slice_mm, jnp.float32), jnp.float32(PIXEL_MM), jnp.float32(PIXEL_MM)])


def brain_of(head: Head) -> jax.Array:
    """bool [D, h, w], see `Features.brain`."""
    inner = morphology.erode(head.inside, side=3)
    return inner & (head.hu >= 0) & (head.hu <= MAX_BRAIN_HU)


def template_sums(head: Head, truth: jax.Array) -> jax.Array:
    """What a training scan adds to the template: int32 [3, TEMPLATE_CELLS^3], voxels, their HU and squared HU by cell.

    In whole numbers, so that the order of additions changes nothing. The true hemorrhage is left out.
    """
    mask = brain_of(head) & ~truth
    pose = brain_pose.find(head.inside, spacing_mm(head))
    cell = jnp.round(_cells(brain_pose.normalized(pose, spacing_mm(head), shape=mask.shape))).astype(jnp.int32)
    number = (cell[0] * TEMPLATE_CELLS + cell[1]) * TEMPLATE_CELLS + cell[2]
    hu = jnp.round(head.hu).astype(jnp.int32)
    terms = jnp.stack([jnp.ones_like(hu), hu, hu**2], axis=-1) * mask[..., None]
    sums = (
        jnp.zeros((TEMPLATE_CELLS**3, 3), jnp.int32)
        .at[number.ravel()]
        .add(terms.reshape(-1, 3), mode="promise_in_bounds")
    )
    return sums.T


def make_template(sums: np.ndarray) -> Template:
    """The template from the sum of `template_sums` over scans, smoothed by one cell: int64 [3, TEMPLATE_CELLS^3]."""
    grids = sums.reshape(3, TEMPLATE_CELLS, TEMPLATE_CELLS, TEMPLATE_CELLS).astype(np.float64)
    prior = grids.mean(axis=(1, 2, 3)) / max(grids[0].mean(), 1.0)  # of one voxel, so that no cell is empty
    smooth = np.stack([ndimage.gaussian_filter(grid, 1.0, mode="constant") for grid in grids])
    count, total, squares = smooth + prior[:, None, None, None]
    mean = total / np.maximum(count, 1e-9)
    sd = np.sqrt(np.maximum(squares / np.maximum(count, 1e-9) - mean**2, MIN_TEMPLATE_SD_HU**2))
    arrays: Any = mean.astype(np.float32), sd.astype(np.float32)
    return Template(*arrays)


def compute(head: Head, template: Template) -> Features:
    """All features of a head; traceable."""
    brain = brain_of(head)
    hu = jnp.where(brain, head.hu, 0.0)
    mm = spacing_mm(head)
    pose = brain_pose.find(head.inside, mm)
    place = brain_pose.normalized(pose, mm, shape=hu.shape)
    moments = local_moments.local_moments(hu, brain)
    in_range = ((hu >= BLOOD_HU[0]) & (hu <= BLOOD_HU[1])).astype(jnp.float32)
    counts = _histogram(hu, brain)
    # Mapped over what is alike, since each repetition takes longer to compile than to run.
    share_in_range, share_of_brain = jax.lax.map(
        lambda pair: local_moments.box_mean(*pair),
        (jnp.stack([in_range, brain.astype(jnp.float32)]), jnp.stack([brain, jnp.ones_like(brain)])),
    )
    outside = 1.0 - share_of_brain
    smooth = jax.lax.map(
        lambda sigma_mm: local_moments.masked_gaussian(hu, brain, mm, sigma_mm=sigma_mm), jnp.array(SMOOTHING_MM)
    )
    mean, sd = jax.lax.map(lambda grid: _sample(grid, place), jnp.stack(template))
    maps = (
        *moments,
        hu,
        in_range,
        *(_z_in_planes(hu, brain, axes) for axes in ((0, 1), (0, 2), (1, 2))),
        _winsorized_z(hu, counts),
        share_in_range,
        _of_hu(_bright_classes(counts), hu),
        outside,
        (outside > 0).astype(jnp.float32),
        jnp.sqrt((place**2).sum(axis=0)) * pose.size_mm,
        *smooth,
        (hu - mean) / sd,
        _mirror_difference(moments.mean, brain, pose, mm),
    )
    return Features(jnp.where(brain[None], jnp.stack(maps), 0.0), brain)


def _cells(place: jax.Array) -> jax.Array:
    """Positions [3, ...] from `brain_pose.normalized` in cells of the template, those beyond it on its edge."""
    return jnp.clip(place / CELL_SIZE + (TEMPLATE_CELLS - 1) / 2, 0.0, TEMPLATE_CELLS - 1.0)


def _sample(grid: jax.Array, place: jax.Array) -> jax.Array:
    """A template's value at each position [3, D, h, w], by linear interpolation."""
    cells = _cells(place)
    return jax.scipy.ndimage.map_coordinates(jnp.asarray(grid), list(cells), order=1, mode="nearest")


def _z_in_planes(hu: jax.Array, brain: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Each voxel's HU minus the mean of its plane, in SDs of the plane; planes extend along `axes`."""
    count = jnp.maximum(brain.sum(axis=axes, keepdims=True), 1).astype(jnp.float32)
    deviation = jnp.where(brain, hu - hu.sum(axis=axes, keepdims=True) / count, 0.0)
    variance = (deviation**2).sum(axis=axes, keepdims=True) / count
    return deviation / jnp.sqrt(jnp.maximum(variance, 1.0))


def _histogram(hu: jax.Array, brain: jax.Array) -> jax.Array:
    """int32 [101]: voxels of the brain of each HU."""
    level = jnp.clip(jnp.round(hu), 0, MAX_BRAIN_HU).astype(jnp.int32)
    counts = jnp.zeros(MAX_BRAIN_HU + 1, jnp.int32)
    return counts.at[level.ravel()].add(brain.ravel().astype(jnp.int32), mode="promise_in_bounds")


def _of_hu(table: jax.Array, hu: jax.Array) -> jax.Array:
    """The entry of a table [101] for each HU."""
    level = jnp.clip(jnp.round(hu), 0, MAX_BRAIN_HU).astype(jnp.int32)
    return table.at[level].get(mode="promise_in_bounds")


def _winsorized_z(hu: jax.Array, counts: jax.Array) -> jax.Array:
    """HU minus the brain's mean, in its SDs, both of HU clipped to the quantiles `WINSOR_SHARE` from each end."""
    share = jnp.cumsum(counts) / jnp.maximum(counts.sum(), 1)
    low, high = jnp.argmax(share >= WINSOR_SHARE), jnp.argmax(share >= 1 - WINSOR_SHARE)
    clipped = jnp.clip(jnp.arange(MAX_BRAIN_HU + 1), low, high).astype(jnp.float32)
    weight = counts / jnp.maximum(counts.sum(), 1)
    mean = (weight * clipped).sum()
    sd = jnp.sqrt((weight * (clipped - mean) ** 2).sum())
    return (hu - mean) / jnp.maximum(sd, 1.0)


def _bright_classes(counts: jax.Array) -> jax.Array:
    """float32 [101]: the probability of each HU to be of the two brightest of four classes.

    k-means on the histogram, from its quantiles; then a normal distribution for each class, of its share and SD.
    """
    level = jnp.arange(MAX_BRAIN_HU + 1, dtype=jnp.float32)
    weight = counts / jnp.maximum(counts.sum(), 1)
    share = jnp.cumsum(weight)
    start = (jnp.arange(CLASSES, dtype=jnp.float32) + 0.5) / CLASSES
    centers = (share[None] < start[:, None]).sum(axis=1).astype(jnp.float32)

    def assign(centers: jax.Array) -> tuple[jax.Array, jax.Array]:
        nearest = jnp.abs(level[None] - centers[:, None]).argmin(axis=0)
        member = jax.nn.one_hot(nearest, CLASSES, axis=0) * weight[None]  # [CLASSES, 101]
        return member, member.sum(axis=1)

    def step(_: int, centers: jax.Array) -> jax.Array:
        member, size = assign(centers)
        return jnp.where(size > 0, (member * level[None]).sum(axis=1) / jnp.maximum(size, 1e-9), centers)

    centers = jax.lax.fori_loop(0, CLASS_STEPS, step, centers)
    member, size = assign(centers)
    squares = (level[None] - centers[:, None]) ** 2
    variance = jnp.maximum((member * squares).sum(axis=1) / jnp.maximum(size, 1e-9), 1.0)[:, None]
    density = jnp.log(jnp.maximum(size, 1e-9))[:, None] - 0.5 * (squares / variance + jnp.log(variance))
    return jax.nn.softmax(density, axis=0)[CLASSES // 2 :].sum(axis=0)


def _mirror_difference(mean: jax.Array, brain: jax.Array, pose: brain_pose.Pose, mm: jax.Array) -> jax.Array:
    """The local mean minus that of the mirrored brain; 0 where that has none."""
    mirrored = brain_pose.mirror(mean, pose, mm)
    weight = brain_pose.mirror(brain.astype(jnp.float32), pose, mm)
    return jnp.where(weight > 0.5, mean - mirrored / jnp.maximum(weight, 0.5), 0.0)
