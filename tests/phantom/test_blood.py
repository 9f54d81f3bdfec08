"""The bleeds of calibrated phantoms against tables of real ones, `phantom/blood.py`: HU and volume inside the masks.

A few subjects in the normal suite; at least twenty bleeds of each sub-type by `make gates`.
"""

import concurrent.futures
import dataclasses
import functools
import multiprocessing

import numpy as np
import pytest

from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom import blood, dataset, lesions
from ichjax.phantom import fields as pf
from ichjax.phantom import plan as plans
from ichjax.phantom.subject import PRESETS

CALIBRATED = PRESETS["calibrated"]
BRIGHT_HU = 110  # brighter than blood: bone


def subjects_with(subtype, count):
    """(number, seed) of `count` calibrated subjects with this sub-type, from several seeds."""
    for seed in range(100):
        for number in range(49, 131):
            plan = plans.make_plan(number, seed=seed, share=CALIBRATED.share, mix=CALIBRATED.mix)
            if subtype in plan.subtypes and not plan.chronic and plan.age_years > 2:
                yield number, seed
                count -= 1
                if not count:
                    return


@dataclasses.dataclass
class Bleed:
    hu: np.ndarray  # of its voxels
    volume_ml: float
    bone_by_slice: np.ndarray  # share of bone among the mask's pixels


def bleed_of(subtype, who):
    number, seed = who
    subject = dataset.make_subject(number, seed=seed, preset="calibrated")
    mask = subject.classes == 1 + SUBTYPES.index(subtype)
    voxel_ml = abs(np.linalg.det(subject.affine[:3, :3])) / 1000
    bone = [float((hu[m] > BRIGHT_HU).mean()) for hu, m in zip(subject.hu, mask, strict=True) if m.any()]
    return Bleed(subject.hu[mask], float(mask.sum()) * voxel_ml, np.array(bone))


def test_every_table_increases_and_has_the_medians_of_its_source():
    for table, medians in ((blood.HU, (39, 48, 43, 56, 52)), (blood.VOLUME_ML, (2.6, 8.9, 1.0, 13.6, 6.3))):
        for subtype, median in zip(SUBTYPES, medians, strict=True):
            assert len(table[subtype]) == len(blood.PERCENTILES)
            assert (np.diff(table[subtype]) >= 0).all()
            assert table[subtype][blood.PERCENTILES.index(50)] == pytest.approx(median, rel=0.07)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_amounts_follow_the_table(subtype):
    drawn = [blood.draw(subtype, brightness=q, size=q) for q in np.linspace(0.005, 0.995, 199)]
    assert np.median([d.hu for d in drawn]) == pytest.approx(blood.HU[subtype][6], abs=0.5)
    assert (np.diff([d.hu for d in drawn]) >= 0).all()
    in_mask = np.array([d.volume_ml for d in drawn]) * blood.OUTLINED[subtype]
    assert np.median(in_mask) == pytest.approx(blood.VOLUME_ML[subtype][6], rel=0.05)
    assert np.quantile(in_mask, 0.9) == pytest.approx(blood.VOLUME_ML[subtype][10], rel=0.05)
    child = blood.draw(subtype, brightness=0.5, size=0.5, scale=0.5)
    assert child.volume_ml == pytest.approx(blood.draw(subtype, brightness=0.5, size=0.5).volume_ml / 8)


def test_level_of_volume_by_hand():
    order = np.array([3.0, 1.0, 2.0, 4.0])
    assert lesions.level_of_volume(order, 500.0, 1.0) == 2.0  # 1 and 2 make up 1,000 mm3
    assert lesions.level_of_volume(order, np.array([1000.0, 100.0, 100.0, 1.0]), 0.2) == 2.0
    assert lesions.level_of_volume(order, 500.0, 9.0) == 4.0  # more than there is
    assert lesions.level_of_volume(np.zeros(0), 1.0, 1.0) == 0.0


@pytest.mark.parametrize("volume_ml", [2.0, 14.0, 40.0])
@pytest.mark.parametrize("kind", ["EDH", "SDH", "IPH"])
def test_a_shape_has_the_volume_it_was_asked_for(kind, volume_ml):
    grid = pf.make_grid(slices=30, slice_mm=5.0, bottom_mm=-50.0, fov_mm=214.5)
    wall = np.sqrt((grid.x / 1.0) ** 2 + (grid.y / 1.2) ** 2 + (grid.z - 20) ** 2) - 65
    rng = np.random.default_rng(0)
    amount = blood.Amount(hu=50.0, volume_ml=volume_ml, extent_mm=40.0)
    if kind == "IPH":
        lesion = lesions.intraparenchymal(rng, grid, wall, side=1, trauma=False, amount=amount)
    else:
        site = lesions.site_on_wall(rng, grid, wall, low=(40, -30, 20), high=(80, 30, 50), side=1)
        make = lesions.epidural if kind == "EDH" else functools.partial(lesions.subdural, side=1)
        lesion = make(rng, grid, wall, site=site, amount=amount)
    visible = (lesion.field < 0) & (wall < (-lesions.HIDDEN_MM if kind != "IPH" else 0))
    assert visible.sum() * lesions.point_mm3(grid) / 1000 == pytest.approx(volume_ml, rel=0.1)


@pytest.mark.gate
def test_blood_in_a_few_phantoms_has_the_hu_it_was_drawn_with_and_masks_hold_no_bone():
    for number, seed in [next(subjects_with(subtype, 1)) for subtype in ("SDH", "EDH")]:
        plan = plans.make_plan(number, seed=seed, share=CALIBRATED.share, mix=CALIBRATED.mix)
        for subtype, bright, size in zip(plan.subtypes, plan.brightness, plan.sizes, strict=True):
            bleed = bleed_of(subtype, (number, seed))
            amount = blood.draw(subtype, brightness=bright, size=size)
            assert np.median(bleed.hu) == pytest.approx(amount.hu, abs=3)
            assert (bleed.bone_by_slice < 0.1).all()
            assert (bleed.hu > BRIGHT_HU).mean() <= 0.03


@pytest.mark.gate
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_hu_and_volumes_of_twenty_bleeds_follow_the_table(subtype):
    context = multiprocessing.get_context("spawn")  # JAX may have threads by now
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        bleeds = list(pool.map(functools.partial(bleed_of, subtype), subjects_with(subtype, 24)))
    drawn = [bleed for bleed in bleeds if bleed.volume_ml]
    hu = np.concatenate([bleed.hu for bleed in drawn])
    volume_ml = np.median([bleed.volume_ml for bleed in drawn])
    percentiles = dict(zip(blood.PERCENTILES, blood.HU[subtype], strict=True))
    real_ml = blood.VOLUME_ML[subtype][blood.PERCENTILES.index(50)]
    print(
        f"{subtype}: {len(drawn)} bleeds; HU median {np.median(hu):.1f} (table {percentiles[50]}), 95th percentile "
        f"{np.percentile(hu, 95):.1f} ({percentiles[95]}), above {BRIGHT_HU} HU {(hu > BRIGHT_HU).mean():.2%}; median "
        f"volume {volume_ml:.2f} mL ({real_ml})"
    )
    assert len(drawn) >= 20
    assert abs(np.median(hu) - percentiles[50]) <= 4
    assert abs(np.percentile(hu, 95) - percentiles[95]) <= 12
    assert (hu > BRIGHT_HU).mean() <= 0.03
    assert max(bleed.bone_by_slice.max() for bleed in drawn) < 0.2  # no slice whose mask is bone
    assert real_ml / 1.5 <= volume_ml <= real_ml * 1.5
