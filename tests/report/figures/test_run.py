import io
import shutil

import matplotlib._pylab_helpers
import numpy as np
import pytest
from PIL import Image

from ichjax.report import workdir
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet, contours, style
from ichjax.report.figures import run as run_figures
from ichjax.scan import volume as volumes


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(image, color, tolerance=60):
    """Pixels near a color."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(image - rgb).max(axis=2) < tolerance).sum())


@pytest.fixture(scope="module")
def case(made):
    run = workdir.read_run(made.workdir)
    return cases.load_case(run, cases.open_dataset(run), 50)


def test_a_sheet_shows_truth_and_prediction(case, tmp_path):
    empty = np.zeros(case.volume.shape, bool)
    counts = {}
    for name, prediction, truth in (
        ("both", case.prediction, case.truth),
        ("blank", case.prediction, empty),
        ("alone", case.prediction, None),
        ("none", empty, None),
    ):
        path = tmp_path / f"{name}.png"
        run_figures.overlay_sheet(path, case.volume, prediction.astype(np.uint8), truth, title="x $y$ <z>")
        image = pixels(path)
        counts[name] = [count(image, color) for color in (contours.TRUTH_COLOR, contours.PREDICTION_COLOR)]
    assert counts["both"][0] > counts["blank"][0] + 50  # more than the line in the legend
    assert counts["alone"][0] == 0
    assert counts["alone"][1] > counts["none"][1] + 50
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in counts}


def test_a_mask_on_another_grid_is_refused(case, tmp_path):
    with pytest.raises(ValueError, match="prediction has shape"):
        run_figures.overlay_sheet(tmp_path / "x.png", case.volume, case.prediction[:-1])
    assert not list(tmp_path.iterdir())


def test_a_scan_of_one_slice(tmp_path):
    hu = np.full((4, 6, 1), 40, np.int16)
    scan = volumes.from_file_grid(hu, np.diag([-1.0, -1.0, 5.0, 1.0]), name="one")
    run_figures.overlay_sheet(tmp_path / "one.png", scan, np.zeros(scan.shape, bool))
    assert pixels(tmp_path / "one.png").size


def test_of_many_slices_a_selection_with_the_largest_predictions_is_shown():
    prediction = np.zeros((300, 4, 4), bool)
    prediction[122:125, 0] = True
    prediction[123] = True
    shown = contact_sheet.choose_slices(prediction)
    assert len(shown) <= contact_sheet.MAX_SLICES
    assert {0, 122, 123, 124, 299} <= set(shown.tolist())
    assert (np.diff(shown) > 0).all()
    assert (contact_sheet.choose_slices(prediction[:40]) == np.arange(40)).all()
    assert "64 of 300 slices" in contact_sheet.caption(64, 300)


@pytest.mark.parametrize("slices", range(1, 65))
def test_columns_fit_all_slices_on_a_wide_sheet(slices):
    columns = contact_sheet.choose_columns(slices)
    rows = -(-slices // columns)
    assert rows * columns >= slices
    assert rows <= columns + 1


def test_brain_window():
    # Level 40, width 120: paper, section 3.
    hu = np.array([-1000, -20, 40, 100, 3000], np.int16)
    assert cases.brain_window(hu).tolist() == [0, 0, 128, 255, 255]


def test_body_box_includes_the_masks():
    hu = np.full((2, 40, 40), -1000, np.int16)
    hu[0, 15:20, 16:22] = 40
    mask = np.zeros((2, 40, 40), bool)
    mask[1, 30, 12] = True
    rows, columns = cases.body_box(hu, mask)
    assert (rows, columns) == (slice(7, 39), slice(4, 30))
    assert cases.body_box(np.full((1, 3, 4), -1000, np.int16)) == (slice(0, 3), slice(0, 4))


def test_write_figures(made):
    written = run_figures.write_figures(workdir.read_run(made.workdir))
    names = {path.name for path in written}
    assert {"curves.png", "dice_by_subject.png", "overlay_049.png", "overlay_051.png", "overlay_052.png"} <= names
    assert all(path.parent == made.workdir / "figures" for path in written)
    assert not matplotlib._pylab_helpers.Gcf.get_all_fig_managers()


def test_write_figures_without_the_data_set(made, tmp_path, caplog):
    copy = tmp_path / "run"
    shutil.copytree(made.workdir, copy, ignore=shutil.ignore_patterns("config.json", "fold_*", "figures"))
    assert [path.name for path in run_figures.write_figures(workdir.read_run(copy))] == ["dice_by_subject.png"]
    assert "skipped contact sheets" in caplog.text


def test_figures_without_losses_and_scores(made):
    style.png(run_figures.curves({0: [{"epoch": 1, "loss": None}]}))
    nothing = {**made.results, "subjects": [s for s in made.results["subjects"] if s["dice"] is None]}
    nothing["conventions"] = {"paper": {"dice": {"mean": None}}}
    assert Image.open(io.BytesIO(style.png(run_figures.dice_by_subject({"None": nothing})))).size


def test_same_figure_gives_the_same_bytes(made):
    run = workdir.read_run(made.workdir)
    assert style.png(run_figures.curves(run.metrics)) == style.png(run_figures.curves(run.metrics))
