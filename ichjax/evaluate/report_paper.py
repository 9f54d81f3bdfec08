"""Sections of the report: the paper's tables and figures, what lies beyond them, and the conventions of scoring."""

import functools
from collections.abc import Mapping, Sequence

from ichjax.data import published
from ichjax.evaluate import report_beyond
from ichjax.evaluate.paper_tables import PAPER_SCORES, table6
from ichjax.evaluate.report_blocks import heading, html, picture, table, words
from ichjax.evaluate.tables import Figure, write_interval, write_number
from ichjax.evaluate.units import units_of
from ichjax.evaluate.workdir import Run

FIGURES = (
    ("figure2_samples", "Figure 2", "A slice of each sub-type, plain and with the outline of the truth."),
    ("figure_s1_windows", "Figure S1", "One slice through the brain window and the bone window."),
    (None, "Figure 3", "The network, layer by layer."),
    (
        "figure4_patches",
        "Figure 4",
        "Patches as the network takes them, with the outline of the truth, and the raw probability in colour.",
    ),
    ("figure5_slices", "Figure 5", "The best and the worst slices by Dice, with the outlines of truth and prediction."),
)
LAYER_COLUMNS = ("name", "kernel", "output shape", "parameters", "receptive field px")
INFLATED = "all_slices"


def sections(run: Run, *, layers: Sequence[Mapping] = ()) -> list[dict]:
    """The sections, as HTML to put into the report.

    Images are read from the run's figures/ and become part of the page, so draw them first; one that is not there
    is said to be missing.

    Args:
      run: a finished run.
      layers: the network's, one mapping each with `LAYER_COLUMNS` (any may lack; '_' may stand for a space), in
        order; () for none.

    Returns:
      [{'id', 'title', 'html'}], the HTML escaped already, as `markupsafe.Markup`: 'paper-tables', 'paper-figures',
      'beyond' (only where results.json has it) and 'conventions'.
    """
    parts = [
        ("paper-tables", "Beside the paper", _beside(run)),
        ("paper-figures", "Figures of the paper", _figures(run, layers)),
    ]
    beyond = run.results.get("beyond")
    if beyond:
        parts.append(
            (
                "beyond",
                "Beyond the paper",
                report_beyond.blocks(beyond, functools.partial(picture, run.path), units_of(run.results)),
            )
        )
    parts.append(("conventions", "Conventions", _conventions(run.methods)))
    return [{"id": name, "title": title, "html": html(blocks)} for name, title, blocks in parts]


def _beside(run: Run) -> list[dict]:
    percent = {"sensitivity": "%", "specificity": "%"}
    six = [
        [r["method"], r["statistic"]]
        + [write_number(r[f"{who}{s}"], percent.get(s, "")) for s in PAPER_SCORES for who in ("", "paper_")]
        for r in table6(run.methods)
    ]
    others = [[o["name"], write_number(o["dice"]), write_number(o["std"]), o["trust"]] for o in
              published.OTHERS_ON_CT_ICH]  # fmt: skip
    return [
        heading("Table 6: over subjects"),
        table(
            ["Method", "", *(h for s in PAPER_SCORES for h in (s.capitalize(), "paper"))],
            six,
            left=2,
            paper=(3, 5, 7, 9),
        ),
        words(
            "Jaccard and Dice are means over a subject's slices with a hemorrhage; sensitivity and specificity are "
            "rates over a subject's slices, for the subjects that have slices of the kind. SD divides by n. The "
            f"paper: {published.SOURCE}; {published.DATA}; other subjects, so a difference is no test."
        ),
        heading("Other published figures on the same data set"),
        table(["Method", "Dice", "SD", "How far to trust it"], others, numbers=(1, 2)),
    ]


def _figures(run: Run, layers: Sequence[Mapping]) -> list[dict]:
    blocks = []
    for name, title, caption in FIGURES:
        blocks.append(heading(title))
        if name:
            blocks.append(picture(run.path, name, title, caption))
        elif layers:
            rows = [[_layer_cell(layer, c) for c in LAYER_COLUMNS] for layer in layers]
            blocks += [table([c.capitalize() for c in LAYER_COLUMNS], rows), words(caption)]
        else:
            blocks.append(words(f"{run.name}: no layers to print."))
    return blocks


def _layer_cell(layer: Mapping, column: str) -> str:
    value = layer.get(column, layer.get(column.replace(" ", "_"), ""))
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _conventions(methods: Mapping[str, Mapping]) -> list[dict]:
    rows = [
        [name, f"{convention} (inflated: a demonstration)" if convention == INFLATED else convention]
        + [
            cell
            for score in ("dice", "jaccard")
            for cell in (write_number(scores[score]["mean"]), _interval(scores[score]))
        ]
        + [f"{scores['dice']['n']} {scores['dice']['unit']}"]
        + [write_number(results["empty_mask_would_score"].get(convention))]
        for name, results in methods.items()
        for convention, scores in results["conventions"].items()
    ]
    head = ["Method", "Convention", "Dice", "95 %", "Jaccard", "95 %", "Mean over", "Dice of an empty mask"]
    first = next(iter(methods.values()))
    in_words, shown = first.get("conventions_in_words", {}), first["conventions"]
    blocks = [
        words("The same masks, scored in every way that is in use: how much the choice alone moves the number."),
        table(head, rows, left=2),
        table(["Convention", "In words"], [[name, in_words.get(name, "")] for name in shown], left=2),
    ]
    if INFLATED in shown:
        blocks.append(
            words(
                f"'{INFLATED}' gives every slice without a hemorrhage and without a prediction the score 1: it is "
                "inflated by the empty slices, is shown as a demonstration only, and is no measure of segmentation.",
                warning=True,
            )
        )
    all_scans = first["empty_mask_would_score"].get("challenge_all_scans")
    if all_scans is not None:
        blocks.append(
            words(
                f"With the hemorrhage-free scans let in, an empty mask would score {write_number(all_scans)} in "
                "'challenge'."
            )
        )
    return blocks


def _interval(figures: Mapping) -> str:
    return write_interval(Figure(figures["mean"], figures["ci95"])) or "-"
