"""Published figures: those of the paper, and of others on the same data set.

Source: M. D. Hssayeni et al., 'Intracranial Hemorrhage Segmentation Using A Deep Convolutional Model', Data 2020,
5(1), 14 (CC-BY 4.0); tables and sections as given at each figure.
"""

from collections.abc import Mapping
from typing import Any

from ichjax.metrics.records import MethodRecord, Published, Results

SOURCE = "Hssayeni et al., Data 2020, 5(1), 14 (CC-BY 4.0)"
DATA = "82 real subjects, 36 with a hemorrhage, 5 folds by subject"

# Table 4: subjects.
COHORT: Mapping[str, Any] = {
    "subjects": 82,
    "male": 46,
    "female": 36,
    "age_mean_years": 27.8,
    "age_std_years": 19.5,
    "age_min": "1 day",
    "age_max": "72 years",
    "under_18": 27,
    "18_and_over": 55,
    "hemorrhage": 36,
    "fracture": 22,
    "by_subtype": {"IVH": 5, "IPH": 16, "SAH": 7, "EDH": 21, "SDH": 4},
}

# Table 5, and the totals of section 3.3: slices.
SLICE_COUNTS: Mapping[str, Any] = {
    "by_subtype": {"IVH": 24, "IPH": 73, "SAH": 18, "EDH": 182, "SDH": 56},
    "without": 2173,
    "with": 318,
    "total": 2491,
}

# The U-Net on patches (experiment 3), rates as fractions. Table 6: slice scores, mean over subjects. Table 7: slice
# detection by probability threshold. Section 4: Dice by sub-type and by age.
UNET: Published = {
    "table6": {
        "jaccard": {"mean": 0.218, "std": 0.163, "min": 0.0, "max": 0.528},
        "dice": {"mean": 0.315, "std": 0.211, "min": 0.0, "max": 0.677},
        "sensitivity": {"mean": 0.9728, "std": 0.099, "min": 0.5, "max": 1.0},
        "specificity": {"mean": 0.504, "std": 0.299, "min": 0.0, "max": 1.0},
    },
    "table7": (
        {"threshold": 0.5, "sensitivity": 0.972, "specificity": 0.504, "accuracy": 0.566},
        {"threshold": 0.6, "sensitivity": 0.887, "specificity": 0.622, "accuracy": 0.659},
        {"threshold": 0.7, "sensitivity": 0.776, "specificity": 0.745, "accuracy": 0.76},
        {"threshold": 0.8, "sensitivity": 0.737, "specificity": 0.824, "accuracy": 0.825},
        {"threshold": 0.9, "sensitivity": 0.631, "specificity": 0.886, "accuracy": 0.87},
    ),
    "by_subtype": {"IVH": 0.30, "IPH": 0.28, "SAH": 0.23, "EDH": 0.35, "SDH": 0.52},
    "by_age": {"under_18": 0.321, "18_and_over": 0.309},
}

# Section 4, experiment 1: two gray levels by grid search (the text gives one pair; each fold has its own).
THRESHOLD: Published = {
    "table6": {"jaccard": {"mean": 0.08}, "dice": {"mean": 0.135}},
    "grey_levels": {"lower": 140, "upper": 230},
}

# Other published figures on the same data set: mean Dice, its SD where given, and how comparable they are.
OTHERS_ON_CT_ICH = (
    {"name": "Rasoulian et al. 2022", "dice": 0.407, "std": 0.225, "trust": "Weak labels only."},
    {
        "name": "HGI-SAM 2023",
        "dice": 0.44,
        "std": None,
        "trust": "Folds by scan, positive slices pooled ('pooled' here): the best honest anchor.",
    },
    {"name": "YOLO-SAM 2024", "dice": 0.629, "std": None, "trust": "Its protocol could not be verified."},
    {"name": "DDANet 2024", "dice": 0.712, "std": None, "trust": "Folds over slices: subjects leak, not comparable."},
    {
        "name": "SAMIHS 2023",
        "dice": None,
        "std": None,
        "trust": "Every subject is in every fold, and prompts are drawn from the truth: leaks, not comparable.",
    },
)

# For results.json of earlier versions, which did not record the method's title and published figures.
_EARLIER: dict[str, MethodRecord] = {
    "unet": {"title": "U-Net", "published": UNET},
    "threshold": {"title": "Threshold", "published": THRESHOLD},
}


def of(results: Results) -> Published:
    """The paper's figures of the method of a results.json; empty where the paper has none."""
    if "published" in results:
        return results["published"]
    return _EARLIER.get(results.get("method", ""), MethodRecord()).get("published", Published())


def title_of(results: Results) -> str:
    """The title of the method of a results.json."""
    if "title" in results:
        return results["title"]
    return _EARLIER.get(results["method"], MethodRecord()).get("title", results["method"])
