"""Every field of a configuration, once, with the paper's value as its default; configs/ says what differs."""

import hashlib
import json
from collections.abc import Callable

import ml_collections

from ichjax.errors import InputError


def default() -> ml_collections.ConfigDict:
    """The paper's third experiment (160 x 160 patches), field by field; locked against unknown names."""
    config = ml_collections.ConfigDict()
    config.method = "unet"  # a name of methods/registry.py
    config.options = ml_collections.ConfigDict()  # of the method, where no field below is its: see its file
    config.compare_with = ("threshold",)  # methods run beside it, on the same folds
    config.seed = 0  # of everything that is random in a run
    config.fold = 0  # which one `train` trains
    config.folds = ()  # which ones `crossval` runs, so that several processes can share them; empty: all
    config.parallel = "jit"  # how a step is spread over devices: jit, pmap or shard_map
    config.deterministic = False  # of a GPU's kernels only those that give the same bits every time
    # What a loss or gradient that is not finite does: 'stop' ends the run, 'skip' leaves out that update.
    config.on_nonfinite = "stop"
    config.init_from = ""  # a run, or a fold of one, whose weights training starts from where names and shapes fit
    config.profile_steps = (0, 0)  # steps a to b are traced for TensorBoard or Perfetto; (0, 0): none

    config.data = ml_collections.ConfigDict()
    config.data.root = ""  # a data set's folder; empty: a synthetic one is made once and used
    # The authors' fixed order of subjects, or 'stratified' by hemorrhage and sub-type. Or 'slice_split', which leaks
    # and is INVALID: it shows how much higher a score over shuffled slices comes out.
    config.data.splits = "paper"
    config.data.folds = 5
    config.data.leave_out = (70,)  # left out of the overlap scores: the chronic case (paper, section 3.1)

    config.phantom = ml_collections.ConfigDict()  # the synthetic set, where there is no root
    config.phantom.preset = "calibrated"  # 512 x 512, 31 to 58 slices; or 'demo': 256 x 256, fewer, made in seconds
    config.phantom.subjects = 25
    config.phantom.seed = 0
    config.phantom.layout = "nifti"  # of its files: nifti, jpeg (as releases 1.0.0 to 1.2.0) or own

    config.windows = ((40.0, 120.0),)  # HU level and width of each input channel; the brain window
    config.grid = ml_collections.ConfigDict()  # what the network sees; masks and scores stay on the scan's own
    config.grid.side = 0  # pixels along a slice, resampled in plane; 0 for the scans' own
    config.grid.border = 0  # pixels of it beyond each edge that are cut off: 650 - 2 x 5 = 640, as in release 1
    config.patch = ml_collections.ConfigDict()
    config.patch.side = 160  # pixels
    config.patch.stride = 80  # pixels
    config.patch.corner_pixel = False  # every patch's last pixel set to the top of the window (authors' JPEG code)

    config.model = ml_collections.ConfigDict()
    config.model.base_width = 64  # channels of the first level: 31,031,685 parameters
    config.model.depth = 4
    config.model.dropout = 0.5
    config.model.norm = "none"  # or 'group'
    config.model.head = "paper"  # two maps with ReLU before the last convolution; or 'plain', without them
    config.model.dtype = "float32"  # of the computation; or 'bfloat16'. Parameters and loss stay float32

    config.augment = ml_collections.ConfigDict()
    config.augment.rotation_degrees = 20.0
    config.augment.shift = 0.1  # of the patch side
    config.augment.shear_degrees = 0.1
    config.augment.zoom = 0.2

    config.train = ml_collections.ConfigDict()
    config.train.epochs = 150
    config.train.examples_per_epoch = 0  # at most; 0 for every patch with a hemorrhage and its negatives
    config.train.batch_size = 32
    config.train.accumulate = 1  # parts of a batch that go through the network one after the other
    config.train.steps_per_dispatch = 1  # updates that the device makes between two looks of the host
    config.train.learning_rate = 1e-5  # of Adam
    config.train.schedule = "inverse"  # Keras' lr / (1 + lr / epochs * step); or 'cosine' down to zero
    config.train.warmup_steps = 0
    config.train.dice_weight = 0.0  # of a soft Dice loss added to the cross-entropy, which alone is the paper's
    config.train.positive_weight = 1.0  # of a hemorrhage's pixel in the cross-entropy; 1 as in the paper
    config.train.slices = "all"  # or 'hemorrhage': no patch is taken from a slice without one (paper, experiment 2)
    # Patches without a hemorrhage: as many as with one, drawn anew each epoch; 'one_slice': all those of one random
    # hemorrhage-free slice of each subject, the same each epoch (authors' JPEG code); or 'none' (their NIfTI code).
    config.train.negatives = "matched"
    config.train.validation_negatives = "none"  # the authors validate on positive patches only
    config.train.read_threads = 2  # of grain

    config.predict = ml_collections.ConfigDict()
    config.predict.threshold = 0.5  # a pixel is hemorrhage above this probability
    config.predict.thresholds = (0.5, 0.6, 0.7, 0.8, 0.9)  # at which slice detection is reported (paper, Table 7)
    config.predict.closing_px = 10  # side of the closing kernel, 0 for none
    config.predict.opening_px = 5  # side of the opening kernel, 0 for none
    config.predict.batch_size = 32  # patches that go through the network at once
    # The network once over each whole slice in place of its patches: a third of the work, and not the same function,
    # as a pixel then sees past its patch's edge (how much that changes: benchmarks/NOTES.md).
    config.predict.whole_slices = False
    config.predict.stitch = "flat"  # the paper's plain mean where patches overlap; 'gaussian': their middles count more
    config.predict.mirror = False  # the mean with what is said of the mirrored slices: twice the work
    config.predict.min_max_stretch = False  # each patch's lowest and highest probability become 0 and 1 (JPEG code)
    config.predict.quantize_8bit = False  # truncated to 8 bits before and after averaging; positive above 256 t
    # Tuned on the validation subjects of each fold, never on those it tests: 'threshold', 'all' (kernels too), or
    # 'none'. Of the values below, those with the highest mean Dice in the paper's convention.
    config.predict.tune = "none"
    config.predict.tune_thresholds = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    config.predict.tune_closing_px = (0, 5, 10)
    config.predict.tune_opening_px = (0, 3, 5)

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.slice_rule_mm2 = 43.6  # a slice is called positive above this area: 400 pixels at 0.33 mm
    config.evaluate.slice_rule_px = 0  # above this many pixels instead, whatever their size: the authors' 400; 0: off
    config.lock()
    config.options.unlock()  # each method has its own
    return config


def to_dict(config: ml_collections.ConfigDict) -> dict:
    """The configuration as plain, JSON-ready values."""
    return json.loads(config.to_json())


def digest(config: ml_collections.ConfigDict) -> str:
    """16 hex digits that name the configuration; every result carries them. Where the data lie, and which folds
    are trained here, do not count: the same experiment keeps its name on another machine."""
    fields = without_place(to_dict(config))
    return hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=8).hexdigest()


def without_place(fields: dict) -> dict:
    """A configuration's values without those that may differ from one process of an experiment to another."""
    kept = {name: value for name, value in fields.items() if name not in ("fold", "folds", "profile_steps")}
    if not kept.get("options"):  # as if the field were not there, which keeps the digests of earlier versions
        kept.pop("options", None)
    return {**kept, "data": {name: value for name, value in fields["data"].items() if name != "root"}}


def differing_fields(one: dict, other: dict, prefix: str = "") -> list[str]:
    """Names of the fields in which two configurations differ, with both values."""
    rows = []
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            rows += differing_fields(a, b, f"{prefix}{name}.")
        elif a != b:
            rows.append(f"{prefix}{name} ({a!r} there, {b!r} here)")
    return rows


def flatten(config: ml_collections.ConfigDict, prefix: str = "") -> dict:
    """{'train.batch_size': value, ...}: every field by its dotted name."""
    fields = {}
    for name, value in config.items():
        inner = isinstance(value, ml_collections.ConfigDict)
        fields |= flatten(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return fields


CHOICES = {
    "phantom.layout": ("nifti", "jpeg", "own"),
    "on_nonfinite": ("stop", "skip"),
    "parallel": ("jit", "pmap", "shard_map"),
    "data.splits": ("paper", "stratified", "slice_split"),
    "model.norm": ("none", "group"),
    "model.head": ("paper", "plain"),
    "model.dtype": ("float32", "bfloat16"),
    "train.schedule": ("inverse", "cosine"),
    "train.slices": ("all", "hemorrhage"),
    "train.negatives": ("matched", "one_slice", "none"),
    "train.validation_negatives": ("matched", "none"),
    "predict.stitch": ("flat", "gaussian"),
    "predict.tune": ("none", "threshold", "all"),
}
AT_LEAST = {
    "seed": 0,
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
    "train.epochs": 1,
    "train.batch_size": 1,
    "train.accumulate": 1,
    "train.steps_per_dispatch": 1,
    "train.warmup_steps": 0,
    "train.dice_weight": 0,
    "train.positive_weight": 0,
    "train.read_threads": 1,
    "predict.closing_px": 0,
    "predict.opening_px": 0,
    "predict.batch_size": 1,
    "evaluate.slice_rule_mm2": 0,
    "evaluate.slice_rule_px": 0,
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises InputError for values that no run can have."""
    c, fields = config, flatten(config)
    rules = [(fields[name] in choices, name, f"one of {', '.join(choices)}") for name, choices in CHOICES.items()]
    rules += [(fields[name] >= least, name, f"at least {least}") for name, least in AT_LEAST.items()]
    for good, name, expected in rules:
        _require(good, name, fields[name], expected)
    rules = [
        (c.method not in c.compare_with, "compare_with", f"other methods than {c.method!r}, which is the main one"),
        (0 <= c.fold < c.data.folds, "fold", f"0 to {c.data.folds - 1}"),
        (_are_folds(c.folds, c.data.folds), "folds", f"distinct numbers from 0 to {c.data.folds - 1}, or () for all"),
        (_is_range(c.profile_steps), "profile_steps", "two steps (a, b) with 0 <= a <= b"),
        (c.windows and all(_is_window(pair) for pair in c.windows), "windows", "pairs of HU: level, width above 0"),
        (c.grid.side > 0 or not c.grid.border, "grid.border", "0 unless grid.side is set"),
        (0 <= c.model.dropout < 1, "model.dropout", "0 or more, below 1"),
        (c.augment.zoom < 1, "augment.zoom", "below 1"),
        (
            c.train.slices == "all" or c.train.negatives != "one_slice",
            "train.negatives",
            "'matched' or 'none' where config.train.slices is 'hemorrhage'",
        ),
        (c.train.learning_rate > 0, "train.learning_rate", "more than 0"),
        (
            c.predict.stitch == "flat" or not c.predict.quantize_8bit,
            "predict.stitch",
            "'flat' with config.predict.quantize_8bit, which is the authors' own stitching",
        ),
        (0 < c.predict.threshold < 1, "predict.threshold", "between 0 and 1"),
        (all(_is_share(share) for share in c.predict.thresholds), "predict.thresholds", "numbers between 0 and 1"),
        (_are(_is_share, c.predict.tune_thresholds), "predict.tune_thresholds", "one or more numbers between 0 and 1"),
    ]
    kernels = ("predict.tune_closing_px", "predict.tune_opening_px")
    rules += [
        (_are(_is_side, fields[name]), name, "one or more whole numbers of pixels, 0 for none") for name in kernels
    ]
    for good, name, expected in rules:
        _require(good, name, fields[name], expected)


def _require(good: bool, name: str, found: object, expected: str) -> None:
    if not good:
        raise InputError(f"config.{name} is {found!r}; expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 < value < 1


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_folds(folds: tuple, count: int) -> bool:
    return len(set(folds)) == len(folds) and all(_is_side(fold) and fold < count for fold in folds)


def _is_range(steps: tuple) -> bool:
    return len(steps) == 2 and all(map(_is_side, steps)) and steps[0] <= steps[1]


def _are(accepts: Callable[[object], bool], values: tuple) -> bool:
    return len(values) > 0 and all(accepts(value) for value in values)


def _is_window(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and all(_is_number(value) for value in pair) and pair[1] > 0
