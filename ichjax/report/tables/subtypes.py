"""The table of Dice by sub-type of multi-class masks."""

from collections.abc import Mapping

from ichjax.metrics.records import Results
from ichjax.metrics.subtype_dice import MEANS_OVER_SCANS, SUBTYPE_CONVENTIONS
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells


def subtype_dice(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Dice by sub-type, with the conventions of `SUBTYPE_CONVENTIONS` side by side.

    Args:
      methods: {display name: results.json}.

    Returns:
      [{'method', 'subtype', 'present_only', 'nnunet' (each with '..._ci95_low', '..._ci95_high' and '..._subjects'),
      'pooled', 'truth_px', 'predicted_px', 'in_words'}] of each method and sub-type, and with the means over the
      sub-types ('mean'); nothing for methods that do not segment sub-types.
    """
    records: list[CsvRecord] = []
    for name, results in methods.items():
        if "subtype_dice" not in results:
            continue
        table = results["subtype_dice"]
        in_words = " ".join(f"{SUBTYPE_CONVENTIONS[key]}: {words}" for key, words in table["in_words"].items())
        for subtype, scores in table["by_subtype"].items():
            record: CsvRecord = {"method": name, "subtype": subtype}
            for key in MEANS_OVER_SCANS:
                record[key] = scores[key]["mean"]
                record |= {**interval_cells(scores[key]["ci95"], f"{key}_ci95"), f"{key}_subjects": scores[key]["n"]}
            pooled = scores["pooled"]
            record |= {"pooled": pooled["dice"], "truth_px": pooled["truth_px"], "predicted_px": pooled["predicted_px"]}
            records.append({**record, "in_words": in_words})
        means = {"method": name, "subtype": "mean", **table["mean"], "in_words": in_words}
        records.append({**dict.fromkeys(records[-1]), **means})
    return records
