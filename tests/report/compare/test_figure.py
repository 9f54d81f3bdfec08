import matplotlib._pylab_helpers
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ichjax.metrics import statistics
from ichjax.report.compare import figure as compare_figure
from ichjax.report.figures import style as figure_style


def pairs(a, b, title="Dice", unit="", higher_is_better=True):
    a, b = np.asarray(a, float), np.asarray(b, float)
    numbers = np.arange(49, 49 + len(a))
    return compare_figure.Pairs(title, unit, higher_is_better, numbers, a, b, statistics.paired_difference(a, b))


def random_pairs(n, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.random(n), scale * rng.random(n)


def marks(axes, color):
    """Points [K, 2] drawn in a color."""
    lines = [line for line in axes.lines if line.get_color() == color and line.get_marker() not in ("None", "")]
    return np.concatenate([line.get_xydata() for line in lines])


def test_marks_lie_at_the_scores_of_each_subject():
    a, b = [0.2, 0.5, 0.6, 0.9], [0.4, 0.5, 0.1, 0.95]
    figure = compare_figure.draw([pairs(a, b)], "a", "b")
    against, differences = figure.axes
    blue, orange, gray = (
        style[1] for style in (compare_figure.B_BETTER, compare_figure.A_BETTER, compare_figure.EQUAL)
    )
    np.testing.assert_allclose(marks(against, blue), [[0.2, 0.4], [0.9, 0.95]])
    np.testing.assert_allclose(marks(against, orange), [[0.6, 0.1]])
    np.testing.assert_allclose(marks(against, gray), [[0.5, 0.5]])
    np.testing.assert_allclose(marks(differences, orange), [[0, -0.5]])
    np.testing.assert_allclose(sorted(marks(differences, blue).tolist()), [[2, 0.05], [3, 0.2]])
    assert [label.get_text() for label in differences.get_xticklabels()] == ["51", "50", "52", "49"]
    assert "fewer than 8 subjects, no confidence interval" in differences.get_title(loc="left")


def test_lower_volume_error_is_better():
    figure = compare_figure.draw([pairs([5, 1], [2, 4], "Volume error", "mL", False)], "a", "b")
    np.testing.assert_allclose(marks(figure.axes[0], compare_figure.B_BETTER[1]), [[5, 2]])
    assert figure.axes[0].get_title(loc="left") == "Volume error: lower is better"
    assert figure.axes[0].get_xlabel() == "A: Volume error, mL"
    assert figure.axes[1].get_ylabel() == "B - A: Volume error, mL"


def test_mean_and_confidence_interval_are_drawn():
    drawn = pairs(*random_pairs(20))
    axes = compare_figure.draw([drawn], "a", "b").axes[1]
    (band,) = axes.patches
    low, high = drawn.difference["ci95"]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((low, high))
    (mean,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert mean.get_ydata()[0] == drawn.difference["mean"]
    assert axes.get_title(loc="left") == (f"mean {drawn.difference['mean']:+.3f}, 95 % CI {low:+.3f} to {high:+.3f}")


@pytest.mark.parametrize("n", [1, 9, 40, 75, 200])
def test_texts_do_not_overlap(n):
    scores = [
        pairs(*random_pairs(n)),
        pairs(*random_pairs(n, 1, 2000.0), "Volume error", "mL", False),
        pairs(*random_pairs(n, 2, 0.002), "False positives", "mL", False),
    ]
    figure = compare_figure.draw(scores, "$\\frac{", "W" * 48)  # not a formula
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [t for part in figure.subfigs for t in part.texts]
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [t.get_window_extent(renderer) for t in texts if t.get_visible() and t.get_text()]
    boxes += [part.legends[0].get_window_extent(renderer) for part in figure.subfigs if part.legends]
    inside = figure.bbox.padded(1)
    assert not [b for b in boxes if b.x0 < inside.x0 or b.x1 > inside.x1 or b.y0 < inside.y0 or b.y1 > inside.y1]
    shrunk = [b.padded(-0.5) for b in boxes if min(b.width, b.height) > 1]
    assert not [(i, j) for i, one in enumerate(shrunk) for j, two in enumerate(shrunk[:i]) if one.overlaps(two)]


def test_scores_without_a_pair_are_skipped():
    figure = compare_figure.draw([pairs([], []), pairs(*random_pairs(9))], "a", "b")
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="no subject has a score in both runs"):
        compare_figure.draw([pairs([], [])], "a", "b")


def test_equal_and_zero_scores_can_be_drawn():
    for value in (0.0, 0.4):
        figure_style.png(compare_figure.draw([pairs(np.full(9, value), np.full(9, value), unit="mL")], "a", "b"))


def test_same_pairs_give_the_same_bytes_and_leave_no_window():
    one, two = (figure_style.png(compare_figure.draw([pairs(*random_pairs(9))], "a", "b")) for _ in range(2))
    assert one == two
    assert not matplotlib._pylab_helpers.Gcf.get_all_fig_managers()
