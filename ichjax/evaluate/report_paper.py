"""Sections of the report: the paper's tables and figures, what lies beyond them, and the conventions of scoring."""

import base64
import pathlib
from collections.abc import Mapping, Sequence

import jinja2
import markupsafe

from ichjax.evaluate import published, report_beyond
from ichjax.evaluate.paper_tables import DIFFERENCE, RATES, SCORES, dice_by_age, dice_by_subtype, table6, table7
from ichjax.evaluate.report_blocks import heading, table, words
from ichjax.evaluate.tables import AGE_NAMES, write_number
from ichjax.evaluate.workdir import Run

FOLDER = pathlib.Path(__file__).parent
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
        parts.append(("beyond", "Beyond the paper", report_beyond.blocks(beyond, lambda *a: _image(run, *a))))
    parts.append(("conventions", "Conventions", _conventions(run.results)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("report_paper.html.j2")
    return [
        {"id": name, "title": title, "html": markupsafe.Markup(template.render(blocks=blocks))}
        for name, title, blocks in parts
    ]


def _image(run: Run, name: str, alt: str, caption: str) -> dict:
    """A figure as a data URI, or the sentence that it is not there."""
    path = run.path / "figures" / f"{name}.png"
    if not path.is_file():
        return words(f"{alt}: not drawn, for what it shows is not there (data set, probabilities or scores).")
    uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    return {"kind": "figure", "uri": uri, "alt": alt, "caption": caption}


def _beside(run: Run) -> list[dict]:
    methods = run.methods
    percent = {"sensitivity": "%", "specificity": "%", "accuracy": "%"}
    six = [
        [r["method"], r["statistic"]]
        + [write_number(r[f"{who}{s}"], percent.get(s, "")) for s in SCORES for who in ("", "paper_")]
        for r in table6(methods)
    ]
    seven = [
        [r["method"], f"{r['threshold']:g}"]
        + [write_number(r[f"{who}{s}"], "%") for s in RATES for who in ("", "pooled_", "paper_")]
        for r in table7(methods)
    ]
    subtype = [[r["method"], r["subtype"], *_group(r), write_number(r["paper_dice"])] for r in dice_by_subtype(methods)]
    by_age = [r for r in dice_by_age(methods) if r["age_group"] != DIFFERENCE]
    ages = [
        [r["method"], AGE_NAMES.get(r["age_group"], r["age_group"]), *_group(r), write_number(r["paper_dice"])]
        for r in by_age
    ]
    groups = ["Dice by subject", "SD", "Subjects", "Dice by slice", "Slices", "Paper"]
    return [
        heading("Table 6: over subjects"),
        table(["Method", "", *(h for s in SCORES for h in (s.capitalize(), "paper"))], six, left=2, paper=(3, 5, 7, 9)),
        words(
            "Jaccard and Dice are means over a subject's slices with a hemorrhage; sensitivity and specificity are "
            "rates over a subject's slices, for the subjects that have slices of the kind. SD divides by n. The "
            f"paper: {published.SOURCE}; {published.DATA}; other subjects, so a difference is no test."
        ),
        heading("Table 7: slices called positive, by threshold"),
        table(
            ["Method", "Threshold", *(h for r in RATES for h in (r.capitalize(), "pooled", "paper"))],
            seven,
            paper=(4, 7, 10),
        ),
        words(
            "First the mean over subjects, then all slices pooled, then the paper's, whose accuracies follow from "
            "neither."
        ),
        heading("Dice by sub-type"),
        table(["Method", "Sub-type", *groups], subtype, left=2, paper=(7,)),
        heading("Dice by age"),
        table(["Method", "Age", *groups], ages, left=2, paper=(7,)),
        *(words(_age_sentence(name, r["by_age_test"])) for name, r in methods.items() if r.get("by_age_test")),
        heading("Other published figures on the same data set"),
        table(
            ["Method", "Dice", "SD", "How far to trust it"],
            [[o["name"], write_number(o["dice"]), write_number(o["std"]), o["trust"]] for o in
             published.OTHERS_ON_CT_ICH],
            numbers=(1, 2),
        ),
    ]  # fmt: skip


def _group(record: Mapping) -> list:
    return [
        write_number(record["dice"]), write_number(record["std"]), record["subjects"],
        write_number(record["dice_by_slice"]), record["slices"],
    ]  # fmt: skip


def _age_sentence(name: str, test: Mapping) -> str:
    if test["difference"] is None:
        return f"{name}: no difference between the ages, for one group is empty."
    interval, p = test["ci95"], test["mann_whitney_p"]
    sure = f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else "too few subjects for an interval"
    tested = f"; Mann-Whitney p = {p:.3f}" if p is not None else ""
    words_of_it = f"{name}: Dice under 18 years less Dice from 18 on"
    return f"{words_of_it} {test['difference']:+.3f} ({sure}{tested}; n = {test['n']})."


def _figures(run: Run, layers: Sequence[Mapping]) -> list[dict]:
    blocks = []
    for name, title, caption in FIGURES:
        blocks.append(heading(title))
        if name:
            blocks.append(_image(run, name, title, caption))
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


def _conventions(results: Mapping) -> list[dict]:
    in_words, empty = results.get("conventions_in_words", {}), results["empty_mask_would_score"]
    rows = []
    for name, scores in results["conventions"].items():
        dice, jaccard = scores["dice"], scores["jaccard"]
        unit = f"{dice['n']} {dice['unit']}"
        of_empty = empty.get(name)
        title = f"{name} (inflated: a demonstration)" if name == INFLATED else name
        rows.append(
            [title, write_number(dice["mean"]), write_number(jaccard["mean"]), unit,
             write_number(of_empty), in_words.get(name, "")]
        )  # fmt: skip
    head = ["Convention", "Dice", "Jaccard", "Mean over", "Dice of an empty mask", "In words"]
    blocks = [
        words("The same masks, scored in every way that is in use: how much the choice alone moves the number."),
        table(head, rows, numbers=(1, 2, 3, 4)),
    ]
    if INFLATED in results["conventions"]:
        blocks.append(
            words(
                f"'{INFLATED}' gives every slice without a hemorrhage and without a prediction the score 1: it is "
                "inflated by the empty slices, is shown as a demonstration only, and is no measure of segmentation.",
                warning=True,
            )
        )
    if empty.get("challenge_all_scans") is not None:
        blocks.append(
            words(
                "With the hemorrhage-free scans let in, an empty mask would score "
                f"{write_number(empty['challenge_all_scans'])} in 'challenge'."
            )
        )
    return blocks
