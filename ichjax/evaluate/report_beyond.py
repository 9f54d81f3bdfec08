"""The report's section of what the paper does not measure, each figure with one sentence that says what it is."""

from collections.abc import Callable, Mapping

from ichjax.evaluate.curves import SUBTYPES_IN_WORDS
from ichjax.evaluate.report_blocks import heading, table, words
from ichjax.evaluate.tables import write_number
from ichjax.evaluate.units import MEASURED, Units


def blocks(beyond: Mapping, image: Callable[[str, str, str], dict], units: Units = MEASURED) -> list[dict]:
    """The blocks of the section; a part that results.json does not have is left out.

    Args:
      beyond: results['beyond'].
      image: (name of the file, alternative text, caption) to a block.
      units: what to write behind mm and mL.
    """
    made = []
    for key, title, make in SECTIONS:
        part = beyond.get(key)
        if part:
            made += [heading(title), *make(part, image, units)]
    return made


def _surface(part, _, units):
    dice, distance = part["dice"], part["hd95_mm"]
    rows = [
        [f"Surface Dice at {part['tolerance_mm']:g} {units.mm}", *(write_number(dice[k]) for k in ("mean", "std")), "-",
         dice["n"], "-"],
        [f"HD95, {units.mm}, finite values", *(_mm(distance[k]) for k in ("mean", "std", "median")), distance["n"],
         distance["infinite"]],
    ]  # fmt: skip
    return [
        table(["Score", "Mean", "SD", "Median", "Scans", "Infinite"], rows),
        words(
            f"Surface Dice is the share of both surfaces within {part['tolerance_mm']:g} {units.mm} of the other; "
            "HD95 is the larger of the two directed 95th percentiles of the distance between them, infinite where "
            "one mask is empty: those are counted, not averaged."
        ),
    ]


def _mm(value):
    return "-" if value is None else f"{value:.1f}"


def _roc(what):
    def make(part, *_):
        own = ", by scores of the method itself" if part.get("own_scores") else ""
        return [
            words(
                f"{what}{own}: area under the ROC curve {part['area']:.3f}, average precision "
                f"{part['average_precision']:.3f}, over {part['positives']} with and {part['negatives']} without a "
                "hemorrhage; the area is the chance that one with scores higher than one without."
            )
        ]

    return make


def _subtypes(part, *_):
    keys = ("area", "average_precision")
    rows = [
        [name, *(write_number(curve[key] if curve else None) for curve in units.values() for key in keys)]
        for name, units in part.items()
    ]
    head = ["Sub-type", "ROC area, slices", "Average precision", "ROC area, scans", "Average precision"]
    return [table(head, rows), words(SUBTYPES_IN_WORDS)]


def _froc(part, image, _):
    at = ", ".join(f"{write_number(v)} at {k}" for k, v in part["at"].items())
    return [
        image("froc", "Free-response curve", "Share of lesions found against false positives a scan."),
        words(
            f"A lesion is a connected component of the truth: {part['found']} of {part['lesions']} are found at the "
            f"end of the curve, with {part['false_positives']} false ones; the share found is {at} false positives a "
            "scan."
        ),
    ]


def _volumes(part, image, units):
    if part["limits_ml"] is None:
        return [words(f"{part['n']} scan: too few for limits of agreement.")]
    low, high = part["limits_ml"]
    return [
        image("bland_altman", "Bland-Altman plot", "Predicted less true volume of each scan against their mean."),
        words(
            f"Predicted volumes differ from the true ones by {part['bias_ml']:+.2f} {units.ml} on average (SD "
            f"{part['sd_ml']:.2f}); 95 % of scans are expected between {low:+.2f} and {high:+.2f} {units.ml} (n = "
            f"{part['n']}). Concordance {write_number(part['concordance'])}: 1 is perfect agreement."
        ),
    ]


def _calibration(part, image, _):
    return [
        image("reliability", "Reliability diagram", "Predicted probability against the share that is hemorrhage."),
        words(
            f"Expected calibration error {write_number(part['expected_calibration_error'])}: how far on average the "
            "probability is from the share that is hemorrhage, inside the head where the probability is above 0.01."
        ),
    ]


def _size(part, image, units):
    rows = [[_range(b["low_ml"], b["high_ml"]), b["n"], b["found"], write_number(b["dice"])] for b in part["bins"]]
    return [
        image("lesion_size", "Dice by size of the lesion", "Dice of each lesion against its volume."),
        table([f"Volume, {units.ml}", "Lesions", "Found", "Mean Dice"], rows),
        words("Small lesions are the hard ones: a mean over all hides how many of them are missed."),
    ]


def _range(low, high):
    return f"over {low:g}" if high is None or high == float("inf") else f"{low or 0:g} to {high:g}"


def _diameter(part, image, units):
    line = part["line_mm"]
    rows = [
        [name, side["slices"], write_number(side["dice"]), write_number(side["detected"], "%")]
        for name, side in ((f"below {line:g} {units.mm}", part["below"]), (f"from {line:g} {units.mm}", part["above"]))
    ]
    return [
        image("dice_by_diameter", "Dice by diameter", "Dice of each slice against the diameter of its hemorrhage."),
        table(["Largest in-plane diameter", "Slices", "Mean Dice", "Called positive"], rows),
        words(f"The paper scored 0 on two subjects whose hemorrhage was smaller than {line:g} mm."),
    ]


def _bone(part, image, _):
    if not sum(part["share"]):
        return [words("No false positive lies inside the skull.")]
    return [
        image("false_positives_to_bone", "False positives by distance to bone", "Beside the intracranial space there."),
        words(
            "The paper found false positives 'more prevalent near the bones': here that holds where "
            "their share exceeds that of the intracranial space at the same distance to the inner table of the skull."
        ),
    ]


def _seams(part, *_):
    if part["across"] is None or part["elsewhere"] is None:
        return [words("No pair of pixels across a seam and elsewhere to compare.")]
    return [
        words(
            f"Mean step of the probability between neighbouring pixels: {part['across']:.4f} across the seams of "
            f"patches ({part['n_across']:,} pairs), {part['elsewhere']:.4f} elsewhere ({part['n_elsewhere']:,}). The "
            "paper calls the effect of the seams 'minimal'; equal steps would be none at all."
        )
    ]


def _curves(image):
    caption = "ROC and precision-recall curves of the detection of slices and of scans."
    return [image("roc_pr", "ROC and precision-recall curves", caption)]


SECTIONS = (
    ("surface", "Distance between the surfaces", _surface),
    ("slice_roc", "Detection of slices", lambda part, image, _: [*_curves(image), *_roc("Slices")(part)]),
    ("scan_roc", "Detection of scans", _roc("Scans")),
    ("subtype_roc", "Detection of sub-types", _subtypes),
    ("froc", "Lesions", _froc),
    ("volume_agreement", "Volumes", _volumes),
    ("calibration", "Calibration", _calibration),
    ("lesion_size", "Size of the lesion", _size),
    ("diameter", "Diameter", _diameter),
    ("false_positives_to_bone", "Distance of false positives to the bone", _bone),
    ("seams", "Seams between patches", _seams),
)
