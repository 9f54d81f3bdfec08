"""The leaking split: every subject is in all parts, every slice is tested once, and it is reported as invalid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti, leaky_split, regrid, scan_cache
from ichjax.errors import InputError


@given(
    st.dictionaries(st.integers(0, 200), st.integers(1, 60), min_size=1, max_size=6),
    st.integers(3, 6),
    st.integers(0, 2**31),
)
def test_every_slice_is_tested_once_and_in_one_part_of_each_fold(depths, folds, seed):
    made = leaky_split.split_slices(depths, folds=folds, seed=seed)
    assert [fold.index for fold in made.folds] == list(range(folds))
    for number, depth in depths.items():
        tested = np.concatenate([fold.test[number] for fold in made.folds])
        assert sorted(tested) == list(range(depth))
        sizes = [len(fold.test[number]) for fold in made.folds]
        assert max(sizes) - min(sizes) <= 1
        for fold in made.folds:
            parts = [part[number] for part in (fold.train, fold.validation, fold.test)]
            assert sorted(np.concatenate(parts)) == list(range(depth))
            assert all((np.diff(part) > 0).all() for part in parts)
            np.testing.assert_array_equal(fold.validation[number], made.folds[(fold.index + 1) % folds].test[number])


def test_it_leaks_and_is_reported_as_invalid():
    made = leaky_split.split_slices({49: 30, 50: 31}, folds=5, seed=0)
    for fold in made.folds:
        assert all(len(part[number]) for part in (fold.train, fold.validation, fold.test) for number in (49, 50))
    assert len(made.notes) == 1
    assert made.notes[0].startswith("INVALID")
    assert "leak" in made.notes[0]


def test_folds_of_a_subject_depend_only_on_seed_and_subject():
    shares = lambda depths, seed: [  # noqa: E731
        fold.test[49].tolist() for fold in leaky_split.split_slices(depths, folds=3, seed=seed).folds
    ]
    assert shares({49: 30}, 1) == shares({50: 4, 49: 30}, 1)
    assert shares({49: 30}, 1) != shares({49: 30}, 2)
    both = leaky_split.split_slices({49: 30, 50: 30}, folds=3, seed=1).folds[0]
    assert both.test[49].tolist() != both.test[50].tolist()


@pytest.mark.parametrize(
    ("depths", "folds", "words"), [({49: 9}, 2, "2 folds"), ({}, 3, "no subject"), ({49: 9, 50: 0}, 3, "subject 50")]
)
def test_data_that_cannot_be_split_is_rejected(depths, folds, words):
    with pytest.raises(InputError, match=words):
        leaky_split.split_slices(depths, folds=folds, seed=0)


def test_a_scan_reduced_to_some_slices(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path))
    scan = scan_cache.open_scan(ct_ich_nifti.read_dataset(tiny_root).subjects[0])
    part = leaky_split.select_slices(scan, np.array([1, 3]))
    np.testing.assert_array_equal(part.volume.hu, scan.volume.hu[[1, 3]])
    np.testing.assert_array_equal(part.mask, scan.mask[[1, 3]])
    np.testing.assert_array_equal(part.classes, scan.classes[[1, 3]])
    np.testing.assert_array_equal(part.slice_labels, scan.slice_labels[[1, 3]])
    np.testing.assert_array_equal(part.truth_px, part.mask.sum(axis=(1, 2)))
    np.testing.assert_allclose(part.volume.positions_mm, scan.volume.positions_mm[[1, 3]])
    # Resampled scans are cached by digest: another selection must get its own.
    grid = regrid.Geometry(16, 16, 12.0, 12.0)
    other = leaky_split.select_slices(scan, np.array([0, 2]))
    assert (regrid.resample_to_grid(part, grid).volume.hu != regrid.resample_to_grid(other, grid).volume.hu).any()
