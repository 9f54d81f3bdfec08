"""Every field of a configuration, with the paper's value as its default; the files in configs/ change some of them."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import ml_collections


@dataclasses.dataclass
class Data:
    """Which data set, and how its subjects are divided into folds."""

    root: str = ""  # folder of the data set; empty: a synthetic set is made once and used
    # 'paper': the authors' fixed order of subjects; 'stratified': by hemorrhage and sub-type; 'slice_split' leaks, is
    # INVALID, and demonstrates how much higher scores over shuffled slices are.
    splits: Literal["paper", "stratified", "slice_split"] = "paper"
    folds: int = 5
    leave_out: tuple[int, ...] = (70,)  # subjects excluded from the overlap scores: the chronic case (section 3.1)


@dataclasses.dataclass
class Phantom:
    """The synthetic data set that is used where `data.root` is empty."""

    preset: str = "calibrated"  # 512 x 512, 31 to 58 slices; or 'demo': 256 x 256, fewer slices, made in seconds
    subjects: int = 25
    seed: int = 0
    # Of the files: nifti, jpeg (as releases 1.0.0 to 1.2.0), own, or without masks: rsna, cq500.
    layout: Literal["nifti", "jpeg", "own", "rsna", "cq500"] = "nifti"


@dataclasses.dataclass
class Grid:
    """The grid that the network sees; masks and scores stay on the scan's own."""

    side: int = 0  # pixels along a slice, resampled in plane; 0 for the scans' own matrix
    border: int = 0  # pixels cut off beyond each edge of it: 650 - 2 x 5 = 640, as in release 1


@dataclasses.dataclass
class Patch:
    """The patches that slices are cut into."""

    side: int = 160  # pixels
    stride: int = 80  # pixels
    corner_pixel: bool = False  # set every patch's last pixel to the top of the window (authors' JPEG code)


@dataclasses.dataclass
class Model:
    """The U-Net."""

    base_width: int = 64  # channels of the first level; 64 gives 31,031,685 parameters
    depth: int = 4  # number of poolings
    dropout: float = 0.5
    norm: Literal["none", "group", "instance"] = "none"  # normalization after each 3 x 3 convolution
    head: Literal["paper", "plain"] = "paper"  # two maps with ReLU before the last convolution
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the computation; parameters and loss stay float32
    # 'plain': the paper's encoder; 'residual': residual blocks with leaky ReLU, and a light decoder (dropout at the
    # bottleneck, the plain head). The fields below are of the residual network alone.
    encoder: Literal["plain", "residual"] = "plain"
    blocks: tuple[int, ...] = ()  # residual blocks of each level and the bottleneck, depth + 1 numbers; empty: 2 each
    decoder_convolutions: int = 1  # 3 x 3 convolutions of each level of the decoder
    max_width: int = 512  # channels of the deepest levels, at most
    deep_supervision: bool = False  # in training, a loss at each level of the decoder but the lowest
    # n slices above and below each one, as further channels; at the ends of a scan its last slice is repeated.
    neighbors: int = 0
    # Instead, the residual network sees each of the 2 n + 1 slices on its own in so many levels of its encoder, each
    # followed by a convolution along slices, and then merges them into the middle one; 0: slices are channels.
    slice_levels: int = 0
    mirrored_channel: bool = False  # one more slice: the same, mirrored left-right about the head's mid-plane


@dataclasses.dataclass
class Augment:
    """Ranges of the random affine augmentation (section 4)."""

    rotation_degrees: float = 20.0
    shift: float = 0.1  # of the patch side
    shear_degrees: float = 0.1
    zoom: float = 0.2


@dataclasses.dataclass
class Transforms:
    """Random transforms of training examples besides `augment`, each drawn per example; probability 0 leaves it out."""

    affine_probability: float = 0.0
    rotation_degrees: float = 30.0  # largest angle
    zoom: float = 0.25  # factor of each axis in [1 / (1 + zoom), 1 + zoom]
    shift: float = 0.1  # largest, of the patch side
    elastic_probability: float = 0.0
    elastic_px: float = 4.0  # largest displacement along an axis
    elastic_spacing_px: int = 16  # of the control points
    mirror_probability: float = 0.0  # swap left and right
    # On HU, before the windows:
    calibration_probability: float = 0.0
    hu_shift: float = 5.0  # largest, HU
    hu_scale: float = 0.05  # factor in [1 - hu_scale, 1 + hu_scale]
    noise_probability: float = 0.0
    noise_hu: float = 10.0  # largest standard deviation
    noise_px: float = 1.5  # largest sigma of the filter that correlates neighboring pixels
    blur_probability: float = 0.0
    blur_px: float = 1.0  # largest sigma
    low_resolution_probability: float = 0.0
    low_resolution: float = 0.5  # lowest share of the pixels per side
    cupping_probability: float = 0.0
    cupping_hu: float = 8.0  # largest radial bias, and largest rise near bone
    cupping_px: float = 4.0  # sigma of the rise near bone
    slice_average_probability: float = 0.0  # thicker slices; of networks that see neighboring slices alone
    # After the windows:
    gamma_probability: float = 0.0
    gamma: float = 0.4  # power of each channel in [1 / (1 + gamma), 1 + gamma]
    blank_probability: float = 0.0
    blank_count: int = 3  # rectangles, at most
    blank_smallest: float = 0.1  # of the patch side
    blank_largest: float = 0.3


@dataclasses.dataclass
class Train:
    """Training of one fold."""

    epochs: int = 150  # not used where `minutes` is set
    # Time for the epochs of a fold on this machine, with validation and checkpoints; 0: off. An update and a checkpoint
    # are measured once, before the first, and the number of epochs that follows is recorded in the fold's folder: a
    # resumed run keeps it.
    minutes: float = 0.0
    # At most, and with `sampling` 'lesions' never less; 0 for every patch with a hemorrhage and its negatives.
    examples_per_epoch: int = 0
    batch_size: int = 32
    accumulate: int = 1  # gradient accumulation: parts in which a batch goes through the network
    remat: bool = False  # compute maps inside each level again for the gradient: less memory, more operations
    steps_per_dispatch: int = 1  # optimizer steps per dispatch
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"  # 'sgd': with Nesterov momentum
    learning_rate: float = 1e-5
    weight_decay: float = 0.0  # of kernels: decoupled in 'adamw', added to the gradient in 'sgd', not in 'adam'
    momentum: float = 0.99  # of 'sgd'
    clip_norm: float = 0.0  # largest norm of the gradient of all parameters, rescaled to it; 0: off
    ema_decay: float = 0.0  # of the moving average of weights that is validated and kept; 0: the weights themselves
    # 'inverse': lr / (1 + lr / epochs * step); or down to zero: 'cosine', 'poly' (lr * (1 - step / steps) ** 0.9)
    schedule: Literal["inverse", "cosine", "poly"] = "inverse"
    warmup_steps: int = 0
    focal_gamma: float = 0.0  # of the focal loss (Lin et al., 2017) in place of the cross-entropy, 1 or more; 0: off
    dice_weight: float = 0.0  # of a soft Dice loss added to the cross-entropy; the paper uses the cross-entropy alone
    positive_weight: float = 1.0  # of a hemorrhage's pixel in the cross-entropy; 1 in the paper
    # Of the log-loss of a second head, which scores sub-types and any hemorrhage on a slice, added to that of the mask.
    slice_head_weight: float = 0.0  # 0: no such head
    slices: Literal["all", "hemorrhage"] = "all"  # or with a hemorrhage only (experiment 2)
    # Patches without a hemorrhage: 'matched', as many as with one, drawn anew each epoch; 'one_slice', all those of one
    # random hemorrhage-free slice of each subject, the same each epoch (authors' JPEG code); 'none' (their NIfTI code).
    negatives: Literal["matched", "one_slice", "none"] = "matched"
    # Patches with a hemorrhage: 'patches', each once per epoch; 'lesions', as many draws, equally often from every
    # subject, then from each of its sub-types (if known), then from each of its lesions, however small.
    sampling: Literal["patches", "lesions"] = "patches"
    # Share of 'matched' negatives that is drawn in proportion to the false positives of the averaged weights, which
    # score up to 4096 training patches without a hemorrhage after every `mine_every` epochs; 0: off.
    hard_negatives: float = 0.0
    mine_every: int = 5
    validation_negatives: Literal["matched", "none"] = "none"  # the authors validate on positive patches only
    read_threads: int = 2  # of grain
    seed: int = -1  # of initial weights, the order of examples and random transforms; -1: `config.seed`
    # Keep the training scans in the devices' memory, where patches are then cut: on every device, or divided by
    # subjects where that is too much. The result is the same to the last bit.
    resident: bool = False


@dataclasses.dataclass
class Predict:
    """From a scan to its mask."""

    threshold: float = 0.5  # a pixel is hemorrhage above this probability
    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the reported slice detection (paper, Table 7)
    closing_px: int = 10  # side of the closing kernel, 0 for none
    opening_px: int = 5  # side of the opening kernel, 0 for none
    # Gates: a lesion (connected in 3-D above the threshold) that fails one is not predicted.
    find_threshold: float = 0.0  # hysteresis: it needs a pixel above this probability; 0: off
    min_lesion_ml: float = 0.0  # smallest volume; 0: off
    min_lesion_slices: int = 1  # smallest number of slices; 1: off
    batch_size: int = 32  # patches per pass through the network
    # Run the network once over each whole slice instead of its patches: a third of the work, but not the same function,
    # as a pixel then sees past its patch's edge (benchmarks/NOTES.md has the difference).
    whole_slices: bool = False
    stitch: Literal["flat", "gaussian"] = "flat"  # plain mean, or weighted to patch centers
    inside_skull: bool = False  # set the probability outside the skull to 0, where a closed skull is found
    mirror: bool = False  # average with the prediction of the mirrored slices: twice the work
    min_max_stretch: bool = False  # stretch each patch's probabilities to 0 to 1 (authors' JPEG code)
    quantize_8bit: bool = False  # truncate to 8 bits before and after averaging; positive above 256 t
    # Tuned on the validation subjects of each fold, never on its test subjects: 'threshold', 'all' (kernels and gates
    # too) or 'none'. The values below with the highest mean score are taken.
    tune: Literal["none", "threshold", "all"] = "none"
    tune_thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    tune_closing_px: tuple[int, ...] = (0, 5, 10)
    tune_opening_px: tuple[int, ...] = (0, 3, 5)
    tune_find_thresholds: tuple[float, ...] = ()  # 0 is off; empty: `find_threshold` is not tuned, likewise below
    tune_min_lesion_ml: tuple[float, ...] = ()
    tune_min_lesion_slices: tuple[int, ...] = ()
    # The score: the paper's Dice, blind to false positives on slices without a hemorrhage, or the volume Dice of scans,
    # where one without a hemorrhage loses by what is predicted in it.
    tune_by: Literal["paper_dice", "volume_dice"] = "paper_dice"


@dataclasses.dataclass
class Evaluate:
    """Scoring."""

    slice_rule_mm2: float = 43.6  # a slice is predicted positive above this area: 400 pixels at 0.33 mm
    slice_rule_px: int = 0  # above this number of pixels instead, whatever their size (the authors' 400); 0: off


@dataclasses.dataclass
class Config:
    """A configuration, for type checkers: at run time it is the `ConfigDict` that `default` makes of this class."""

    method: str = "unet"  # a name of methods/registry.py
    # Fields of a method that has no group below: see its file in methods/.
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    compare_with: tuple[str, ...] = ("threshold",)  # methods run on the same folds, for comparison
    seed: int = 0  # of everything random in a run
    # `crossval` trains each fold once with each of these as `train.seed`, on the same folds: a run for each in
    # WORKDIR/seed_N, and a table of how much the scores differ; empty: one run, in WORKDIR.
    seeds: tuple[int, ...] = ()
    fold: int = 0  # the fold that `train` trains
    folds: tuple[int, ...] = ()  # the folds that `crossval` runs, so that several processes can share them; empty: all
    # Folds that `crossval` trains at a time, in one program that divides folds over the devices; 0: one fold at a time,
    # with each batch divided over the devices. With `seeds`, folds of several seeds are trained together, too.
    parallel_folds: int = 0
    parallel: Literal["jit", "pmap", "shard_map"] = "jit"  # how a step is spread over devices
    deterministic: bool = False  # restrict a GPU to kernels that give the same bits every time
    on_nonfinite: Literal["stop", "skip"] = "stop"  # at a loss or gradient that is not finite
    init_from: str = ""  # a run, or a fold of one, whose weights training starts from where names and shapes fit
    profile_steps: tuple[int, int] = (0, 0)  # steps a to b are traced for TensorBoard or Perfetto; (0, 0): none
    data: Data = dataclasses.field(default_factory=Data)
    phantom: Phantom = dataclasses.field(default_factory=Phantom)
    windows: tuple[tuple[float, float], ...] = ((40.0, 120.0),)  # HU level and width of each channel: the brain window
    grid: Grid = dataclasses.field(default_factory=Grid)
    patch: Patch = dataclasses.field(default_factory=Patch)
    model: Model = dataclasses.field(default_factory=Model)
    augment: Augment = dataclasses.field(default_factory=Augment)
    transforms: Transforms = dataclasses.field(default_factory=Transforms)
    train: Train = dataclasses.field(default_factory=Train)
    predict: Predict = dataclasses.field(default_factory=Predict)
    evaluate: Evaluate = dataclasses.field(default_factory=Evaluate)


def default() -> Config:
    """The paper's third experiment (160 x 160 patches), locked against unknown fields."""
    config = ml_collections.ConfigDict(dataclasses.asdict(Config()))
    config.lock()
    config.options.unlock()  # each method has its own
    return config


def training_seed(config: Config) -> int:
    """The seed of a training: `config.train.seed`, or `config.seed` where that is -1."""
    return config.seed if config.train.seed < 0 else config.train.seed


def with_training_seed(config: Config, seed: int) -> Config:
    """A copy of a configuration whose one training has this seed."""
    changed = copy.deepcopy(config)
    changed.seeds, changed.train.seed = (), seed
    return changed


def fields_of(group: object) -> dict[str, Any]:
    """A configuration, or a group of its fields, as a dict of plain values."""
    return ml_collections.ConfigDict.to_dict(group)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain, JSON-ready values."""
    return json.loads(ml_collections.ConfigDict.to_json(config))


def digest(config: Config) -> str:
    """16 hex digits that name the configuration; every result carries them.

    Where the data lie, and which folds are trained here, or together, do not count: the same experiment keeps its
    digest on another machine. Fields of `ADDED` count only where they differ from their default, so digests outlive
    their addition.
    """
    fields = _without_unused(without_location(to_dict(config)))
    return hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=8).hexdigest()


def without_location(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's values without those that may differ between the processes of one experiment."""
    left_out = ("fold", "folds", "parallel_folds", "profile_steps", "seeds")
    kept = {name: value for name, value in fields.items() if name not in left_out}
    if not kept.get("options"):  # as if the field were not there, which keeps the digests of earlier versions
        kept.pop("options", None)
    return {**kept, "data": {name: value for name, value in fields["data"].items() if name != "root"}}


def _without_unused(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's values without the fields of `ADDED` that have their default."""
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
    defaults = json.loads(json.dumps(dataclasses.asdict(Config())))
    for group, names in ADDED.items():
        for name in names:
            if kept[group].get(name) == defaults[group][name]:
                kept[group].pop(name, None)
    return {name: value for name, value in kept.items() if value or name not in ADDED}


def differing_fields(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the fields in which two configurations differ, with both values."""
    rows = []
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            rows += differing_fields(a, b, f"{prefix}{name}.")
        elif a != b:
            rows.append(f"{prefix}{name} ({a!r} there, {b!r} here)")
    return rows


def flatten(config: object, prefix: str = "") -> dict[str, Any]:
    """{'train.batch_size': value, ...}: every field by its dotted name."""
    fields: dict[str, Any] = {}
    for name, value in ml_collections.ConfigDict.items(config):
        inner = isinstance(value, ml_collections.ConfigDict)
        fields |= flatten(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return fields


# {group: fields that did not exist when the first digests were recorded}
ADDED = {
    "model": (
        "encoder", "blocks", "decoder_convolutions", "max_width", "deep_supervision", "neighbors", "slice_levels",
        "mirrored_channel",
    ),
    "train": (
        "minutes", "optimizer", "weight_decay", "momentum", "clip_norm", "ema_decay", "focal_gamma", "sampling",
        "slice_head_weight", "hard_negatives", "mine_every", "remat", "resident", "seed",
    ),
    "transforms": tuple(field.name for field in dataclasses.fields(Transforms)),
    "predict": (
        "inside_skull", "find_threshold", "min_lesion_ml", "min_lesion_slices",
        "tune_find_thresholds", "tune_min_lesion_ml", "tune_min_lesion_slices", "tune_by",
    ),
}  # fmt: skip
