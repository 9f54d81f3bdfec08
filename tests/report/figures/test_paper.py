import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ichjax.ops import patches
from ichjax.report import workdir
from ichjax.report.figures import case as cases
from ichjax.report.figures import contours
from ichjax.report.figures import paper as paper_figures
from ichjax.report.figures import patches as patch_figures
from ichjax.report.figures.paper import Slice
from ichjax.scan import nifti

FILES = ["figure2_samples.png", "figure_s1_windows.png", "figure5_slices.png", "figure4_patches.png"]


@pytest.fixture
def run(made, tmp_path):
    """The made run with probabilities and a patch, to write into."""
    path = tmp_path / "run"
    shutil.copytree(made.workdir, path)
    config = json.loads((path / "config.json").read_text())
    config |= {"patch": {"side": 8, "stride": 4}, "grid": {"side": 0, "border": 0}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "probabilities").mkdir()
    run = workdir.read_run(path)
    run.results["layers"] = [{"name": "one"}]  # Figure 4 is for networks
    dataset = cases.open_dataset(run)
    for number, mask in made.prediction.items():
        scan = cases.load_case(run, dataset, number).volume
        nifti.write_nifti(path / "probabilities" / f"{number:03d}.nii.gz", mask.astype(np.uint8) * 204, scan)
    return run


def count(path, color):
    """Pixels near a color."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    with Image.open(path) as image:
        return int((np.abs(np.asarray(image.convert("RGB")).astype(int) - rgb).max(axis=2) < 40).sum())


def test_figures_are_written(run):
    written = paper_figures.write_paper_figures(run)
    assert [p.name for p in written] == FILES
    samples, windows, extremes, shown_patches = written
    # The legend alone has fewer than 200 pixels of a line.
    assert all(count(p, contours.TRUTH_COLOR) > 400 for p in (samples, extremes, shown_patches))
    assert count(windows, contours.TRUTH_COLOR) == 0
    assert count(extremes, contours.PREDICTION_COLOR) > 200


def test_survey_lists_every_slice_with_a_hemorrhage(run, made):
    slices = paper_figures.survey(run, cases.open_dataset(run))
    expected = {(n, int(d)) for n, truth in made.truth.items() for d in np.flatnonzero(truth.any(axis=(1, 2)))}
    assert {(s.subject, s.index) for s in slices} == expected
    for s in slices:
        a, b = made.truth[s.subject][s.index], made.prediction[s.subject][s.index]
        assert s.truth_px == a.sum()
        assert s.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert s.subtypes == ("IVH", "SDH")  # as the fixture's table has it


def test_without_the_data_set_nothing_is_drawn(run, caplog):
    (run.path / "config.json").write_text("{}")
    assert paper_figures.write_paper_figures(workdir.read_run(run.path)) == []
    assert "skipped the figures of the paper" in caplog.text


def test_without_probabilities_only_figure_4_is_skipped(run, caplog):
    shutil.rmtree(run.path / "probabilities")
    assert [p.name for p in paper_figures.write_paper_figures(run)] == FILES[:3]
    assert "probabilities/" in caplog.text


def test_figure_4_is_skipped_if_the_patch_exceeds_the_slice(run):
    run.config["patch"] = {"side": 160, "stride": 80}
    assert [p.name for p in paper_figures.write_paper_figures(run)] == FILES[:3]


def test_a_damaged_prediction_skips_its_subject(run, caplog):
    (run.path / "predictions" / "049.nii.gz").write_bytes(b"not a scan")
    assert len(paper_figures.write_paper_figures(run)) == 4
    assert "skip subject 49" in caplog.text


def make_slice(subject, index, dice, px, *names):
    return Slice(subject, index, dice, px, names)


SLICES = [
    make_slice(1, 0, 0.9, 50, "EDH"),
    make_slice(1, 1, 0.8, 900, "EDH", "SDH"),
    make_slice(2, 3, 0.0, 10, "IPH"),
    make_slice(3, 4, 0.0, 70, "IPH"),
    make_slice(3, 5, 0.95, 60, "IPH"),
]


def test_a_sample_preferably_shows_one_subtype_alone():
    samples = paper_figures.choose_samples(SLICES)
    assert samples == {"IVH": None, "IPH": SLICES[3], "SAH": None, "EDH": SLICES[0], "SDH": SLICES[1]}


def test_of_missed_slices_the_largest_is_the_worst():
    worst, best = paper_figures.choose_extremes(SLICES)
    assert best[:2] == [SLICES[4], SLICES[0]]
    assert worst[:2] == [SLICES[3], SLICES[2]]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9), st.floats(0, 1), st.integers(1, 99)), min_size=1,
                unique_by=lambda s: s[:2]))  # fmt: skip
def test_best_and_worst_are_different_slices_of_different_subjects(values):
    slices = [Slice(*s, ()) for s in values]
    worst, best = paper_figures.choose_extremes(slices)
    assert not set(worst) & set(best)
    for chosen in (worst, best):
        assert len({s.subject for s in chosen}) == len(chosen) <= paper_figures.MAX_EXTREMES
    assert best[0].dice == max(s.dice for s in slices)
    if worst:
        assert worst[0].dice == min(s.dice for s in slices)
        assert max(s.dice for s in worst) <= min(s.dice for s in best)


def test_panels_of_absent_subtypes_explain_themselves(run):
    dataset = cases.open_dataset(run)
    slices = paper_figures.survey(run, dataset)
    samples = paper_figures.choose_samples(slices)
    missing = [name for name, s in samples.items() if s is None]
    assert missing
    figure = paper_figures.draw_samples(samples, paper_figures.load_views(run, dataset, slices))
    texts = " ".join(t.get_text() for axes in figure.axes for t in axes.texts)
    assert all(f"no slice with {name}" in texts for name in missing)


def test_patches_on_the_scan_grid_match_the_network_input():
    pixels = np.arange(24 * 32).reshape(24, 32)
    cut = np.asarray(patches.extract(pixels[None], side=8, stride=4)).reshape(-1, 8, 8)
    boxes = patch_figures.patch_boxes((24, 32), grid_side=0, border=0, side=8, stride=4)
    np.testing.assert_array_equal(np.stack([pixels[b] for b in boxes]), cut)


def test_patches_of_the_paper_grid_on_512_pixels():
    # 650 pixels less 5 at each border over 512: 49 patches of 126 pixels, the first from 5 * 512 / 650 = 3.94 on.
    boxes = patch_figures.patch_boxes((512, 512), grid_side=640, border=5, side=160, stride=80)
    assert len(boxes) == 49
    assert boxes[0][0] == slice(4, 130)
    assert boxes[-1][1] == slice(382, 508)
