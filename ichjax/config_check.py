"""Which values the fields of a configuration may have."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ichjax.config import ADDED, Config, flatten
from ichjax.errors import InputError


def _choices(kind: type, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """{'model.norm': ('none', 'group'), ...}: the fields that are annotated with `Literal`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            found |= _choices(cast(type, hint), f"{prefix}{name}.")
        elif get_origin(hint) is Literal:
            found[f"{prefix}{name}"] = get_args(hint)
    return found


CHOICES = _choices(Config)
PROBABILITIES = [f"transforms.{name}" for name in ADDED["transforms"] if name.endswith("_probability")]
MINIMUM = {
    "seed": 0,
    "train.seed": -1,
    "parallel_folds": 0,
    "phantom.seed": 0,
    "train.examples_per_epoch": 0,
    "data.folds": 3,
    "grid.side": 0,
    "grid.border": 0,
    "patch.side": 1,
    "patch.stride": 1,
    "model.base_width": 1,
    "model.depth": 1,
    "augment.rotation_degrees": 0,
    "augment.shift": 0,
    "augment.shear_degrees": 0,
    "augment.zoom": 0,
    "model.decoder_convolutions": 1,
    "model.max_width": 1,
    "model.neighbors": 0,
    "model.slice_levels": 0,
    "transforms.rotation_degrees": 0,
    "transforms.zoom": 0,
    "transforms.shift": 0,
    "transforms.elastic_px": 0,
    "transforms.elastic_spacing_px": 1,
    "transforms.hu_shift": 0,
    "transforms.hu_scale": 0,
    "transforms.noise_hu": 0,
    "transforms.noise_px": 0,
    "transforms.blur_px": 0,
    "transforms.cupping_hu": 0,
    "transforms.cupping_px": 0,
    "transforms.gamma": 0,
    "transforms.blank_count": 1,
    "transforms.blank_smallest": 0,
    "train.epochs": 1,
    "train.minutes": 0,
    "train.weight_decay": 0,
    "train.clip_norm": 0,
    "train.batch_size": 1,
    "train.accumulate": 1,
    "train.steps_per_dispatch": 1,
    "train.warmup_steps": 0,
    "train.dice_weight": 0,
    "train.slice_head_weight": 0,
    "train.positive_weight": 0,
    "train.mine_every": 1,
    "train.read_threads": 1,
    "predict.closing_px": 0,
    "predict.opening_px": 0,
    "predict.min_lesion_ml": 0,
    "predict.min_lesion_slices": 1,
    "predict.batch_size": 1,
    "evaluate.slice_rule_mm2": 0,
    "evaluate.slice_rule_px": 0,
}


def check(config: Config) -> None:
    """Raises InputError for values that no run can have."""
    c, fields = config, flatten(config)
    _require(
        [(fields[name] in choices, name, f"one of {', '.join(choices)}") for name, choices in CHOICES.items()], fields
    )
    _require([(fields[name] >= minimum, name, f"at least {minimum}") for name, minimum in MINIMUM.items()], fields)
    _require([(0 <= fields[name] <= 1, name, "0 to 1") for name in PROBABILITIES], fields)
    kernels = "one or more whole numbers of pixels, 0 for none"
    rules = [
        (c.method not in c.compare_with, "compare_with", f"other methods than {c.method!r}, which is the main one"),
        (0 <= c.fold < c.data.folds, "fold", f"0 to {c.data.folds - 1}"),
        (_are_folds(c.folds, c.data.folds), "folds", f"distinct numbers from 0 to {c.data.folds - 1}, or () for all"),
        (
            all(map(_is_count, c.seeds)) and len(set(c.seeds)) == len(c.seeds),
            "seeds",
            "distinct whole numbers from 0, or () for one run",
        ),
        (not c.seeds or c.train.seed == -1, "train.seed", "-1 with config.seeds"),
        (_is_range(c.profile_steps), "profile_steps", "two steps (a, b) with 0 <= a <= b"),
        (_are(_is_window, c.windows), "windows", "pairs of HU: level, width above 0"),
        (c.grid.side > 0 or not c.grid.border, "grid.border", "0 unless grid.side is set"),
        (0 <= c.model.dropout < 1, "model.dropout", "0 or more, below 1"),
        (
            not c.model.blocks or (len(c.model.blocks) == c.model.depth + 1 and min(c.model.blocks) > 0),
            "model.blocks",
            f"() or {c.model.depth + 1} numbers above 0: config.model.depth levels and the bottleneck",
        ),
        (c.augment.zoom < 1, "augment.zoom", "below 1"),
        (0 < c.transforms.low_resolution <= 1, "transforms.low_resolution", "above 0, at most 1"),
        (
            c.transforms.blank_smallest <= c.transforms.blank_largest <= 1,
            "transforms.blank_largest",
            "config.transforms.blank_smallest to 1",
        ),
        (0 <= c.train.momentum < 1, "train.momentum", "0 or more, below 1"),
        (0 <= c.train.ema_decay < 1, "train.ema_decay", "0 or more, below 1"),
        (c.train.focal_gamma == 0 or c.train.focal_gamma >= 1, "train.focal_gamma", "0 for none, or 1 or more"),
        (c.train.optimizer != "adam" or not c.train.weight_decay, "train.weight_decay", "0 with the optimizer 'adam'"),
        (
            c.model.encoder == "residual" or not c.model.deep_supervision,
            "model.deep_supervision",
            "False unless config.model.encoder is 'residual'",
        ),
        (
            not c.model.slice_levels or (c.model.encoder == "residual" and c.model.neighbors > 0),
            "model.slice_levels",
            "0 unless config.model.encoder is 'residual' and config.model.neighbors is above 0",
        ),
        (
            c.model.slice_levels <= c.model.depth + 1,
            "model.slice_levels",
            f"at most {c.model.depth + 1}: config.model.depth levels and the bottleneck",
        ),
        (
            c.train.slices == "all" or c.train.negatives != "one_slice",
            "train.negatives",
            "'matched' or 'none' where config.train.slices is 'hemorrhage'",
        ),
        (0 <= c.train.hard_negatives < 1, "train.hard_negatives", "0 or more, below 1"),
        (
            not c.train.hard_negatives or c.train.negatives == "matched",
            "train.hard_negatives",
            "0 unless config.train.negatives is 'matched'",
        ),
        (
            not c.train.hard_negatives or c.train.minutes > 0 or c.train.mine_every < c.train.epochs,
            "train.mine_every",
            "fewer than config.train.epochs with config.train.hard_negatives",
        ),
        (c.train.learning_rate > 0, "train.learning_rate", "more than 0"),
        (
            c.predict.stitch == "flat" or not c.predict.quantize_8bit,
            "predict.stitch",
            "'flat' with config.predict.quantize_8bit, which is the authors' own stitching",
        ),
        (0 < c.predict.threshold < 1, "predict.threshold", "between 0 and 1"),
        (0 <= c.predict.find_threshold < 1, "predict.find_threshold", "0 for none, or below 1"),
        (all(map(_is_fraction, c.predict.thresholds)), "predict.thresholds", "numbers between 0 and 1"),
        (
            _are(_is_fraction, c.predict.tune_thresholds),
            "predict.tune_thresholds",
            "one or more numbers between 0 and 1",
        ),
        (_are(_is_count, c.predict.tune_closing_px), "predict.tune_closing_px", kernels),
        (_are(_is_count, c.predict.tune_opening_px), "predict.tune_opening_px", kernels),
        (
            all(_is_number(p) and 0 <= p < 1 for p in c.predict.tune_find_thresholds),
            "predict.tune_find_thresholds",
            "numbers from 0 to below 1, 0 for none",
        ),
        (
            all(_is_number(ml) and ml >= 0 for ml in c.predict.tune_min_lesion_ml),
            "predict.tune_min_lesion_ml",
            "numbers of mL, 0 for none",
        ),
        (
            all(_is_count(n) and n >= 1 for n in c.predict.tune_min_lesion_slices),
            "predict.tune_min_lesion_slices",
            "whole numbers of slices, 1 for none",
        ),
    ]
    _require(rules, fields)
    if c.parallel_folds > 1:
        _require(_with_parallel_folds(c), fields)


def _with_parallel_folds(c: Config) -> list[tuple[bool, str, str]]:
    """Rules for fields that training several folds in one program does not support."""
    expected = [
        (c.parallel == "jit", "parallel", "'jit'"),
        (c.data.splits != "slice_split", "data.splits", "'paper' or 'stratified'"),
        (c.profile_steps[0] == c.profile_steps[1], "profile_steps", "(0, 0)"),
        (not c.train.minutes, "train.minutes", "0"),
        (c.train.steps_per_dispatch == 1, "train.steps_per_dispatch", "1"),
        (not c.train.resident, "train.resident", "False"),
    ]
    return [(holds, name, f"{value} with config.parallel_folds, {c.parallel_folds}") for holds, name, value in expected]


def _require(rules: Iterable[tuple[bool, str, str]], fields: Mapping[str, Any]) -> None:
    """Raises InputError for the first rule (holds, field, what was expected) that does not hold."""
    for holds, name, expected in rules:
        if not holds:
            raise InputError(f"config.{name} is {fields[name]!r}; expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_folds(folds: tuple, count: int) -> bool:
    return len(set(folds)) == len(folds) and all(_is_count(fold) and fold < count for fold in folds)


def _is_range(steps: tuple) -> bool:
    return len(steps) == 2 and all(map(_is_count, steps)) and steps[0] <= steps[1]


def _are(accepts: Callable[[Any], bool], values: tuple) -> bool:
    return len(values) > 0 and all(map(accepts, values))


def _is_window(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_number, pair)) and pair[1] > 0
