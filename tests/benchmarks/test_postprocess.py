"""Our post-processing and scores agree with NumPy, OpenCV and scikit-learn."""

import jax
import numpy as np
import pytest

from benchmarks import postprocess, postprocess_peer

SIZES = {"slices": 7, "patches": 3, "side": 64}


@pytest.fixture(scope="module")
def inputs():
    return postprocess_peer.example(**SIZES)


@pytest.fixture(scope="module")
def ours(inputs):
    return postprocess.score(*jax.device_get(postprocess.make_program(side=SIZES["side"])(*inputs)))


def test_masks_and_scores_agree_with_opencv_and_scikit_learn(inputs, ours):
    theirs = postprocess_peer.score(*inputs, postprocess_peer.overlap_by_sklearn)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    for name in ("dice", "jaccard", "detection"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, err_msg=name)


def test_scores_from_sums_agree_with_scikit_learn(inputs):
    by_sums, by_sklearn = (
        postprocess_peer.score(*inputs, overlap)
        for overlap in (postprocess_peer.overlap_by_sums, postprocess_peer.overlap_by_sklearn)
    )
    for one, other in zip(by_sums, by_sklearn, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_example_covers_every_kind_of_slice_and_score(inputs, ours):
    probability, truth = inputs
    bleeds = truth.any(axis=(1, 2))
    assert 0 < bleeds.sum() < len(bleeds)
    assert (np.isnan(ours.dice) == ~bleeds[:, None]).all()
    scores = np.asarray(ours.dice)[bleeds]
    assert ((scores > 0) & (scores < 1)).any(axis=0).all()  # at every threshold
    assert len(np.unique(ours.detection)) > 2
    overlapping = [probability[:, 0, 0, :, 32:], probability[:, 0, 1, :, :32]]
    assert (overlapping[0] != overlapping[1]).any()  # overlapping patches disagree, so averaging matters


def test_contestants_that_differ_are_refused(inputs):
    summary = postprocess_peer.summary(postprocess_peer.score(*inputs, postprocess_peer.overlap_by_sums))
    postprocess.require_same(summary, summary, "peer")
    with pytest.raises(RuntimeError, match="peer: mask_px"):
        postprocess.require_same(summary, {**summary, "mask_px": summary["mask_px"] + 1}, "peer")
    with pytest.raises(RuntimeError, match="peer: dice"):
        postprocess.require_same(summary, {**summary, "dice": [1.01 * score for score in summary["dice"]]}, "peer")
