"""Sub-types of hemorrhage by two networks: one finds hemorrhage, the other sees its probability and tells sub-types.

The second network must not learn from a probability that the first one gave to its own training scans, since it is too
good there. A training scan's prior is therefore that of a network trained without it, on the other `inner_folds` parts;
the prior of any other scan is that of the network trained on all training scans.

Options (`config.options`): `inner_folds`, 2 or more, and `prior_blank`, the share of training examples whose prior is
blank. The loss of the second network is a cross-entropy over classes with `config.train.dice_weight` of soft Dice.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import hosts
from ichjax.config import Config, training_seed
from ichjax.console import say
from ichjax.data import regrid
from ichjax.data.leaky_split import invalid_reason
from ichjax.data.loader import PRIOR_STEP
from ichjax.data.regrid import Geometry
from ichjax.data.scan_cache import PRIOR_LEVELS, CachedScan
from ichjax.errors import InputError
from ichjax.files import atomic
from ichjax.methods.base import MODEL_FILE, Prediction, digest
from ichjax.methods.patch_network import PatchNetworkMethod, PatchNetworkParams
from ichjax.methods.unet import UNetMethod
from ichjax.models import class_network
from ichjax.scan.volume import Volume

STAGE_ONE, INNER, PRIORS = "stage_one", "inner", "priors"  # folders of a fold
DEFAULTS = {"inner_folds": 2, "prior_blank": 0.1}


@dataclasses.dataclass(frozen=True, eq=False)
class SubtypeParams(PatchNetworkParams):
    """The second network, as `PatchNetworkParams`, and the first one, trained on all training scans."""

    stage_one: PatchNetworkParams


class SubtypeMethod(PatchNetworkMethod):
    """The residual U-Net of `config.model` twice: binary, then for sub-types with the first one's probability."""

    title = "U-Net for sub-types"
    card = "A U-Net on patches that finds hemorrhage, and a second one that tells its sub-types from the image and that"
    segments_subtypes = True
    exportable = False

    def __init__(self, config: Config):
        options = _options(config)
        self.inner_folds = options["inner_folds"]
        super().__init__(config, class_network.network_from_config(config, prior_blank=options["prior_blank"]))
        self.mode = f"two stages, {self.mode}"
        self._stage_one = UNetMethod(config)
        self._levels = jax.jit(lambda p: PRIOR_STEP * jnp.rint(PRIOR_LEVELS * p).astype(jnp.int16))

    def fit(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int
    ) -> SubtypeParams:
        """Trains the first network on all of `train` and on it without each part, then the second on their priors.

        Each training has a folder of its own in `workdir` and is resumed there.

        Raises:
          InputError: fewer training scans than parts, or as `PatchNetworkMethod.fit`.
        """
        if (workdir / MODEL_FILE).is_file():
            return self.load(workdir)
        if len(train) < self.inner_folds:
            raise InputError(
                f"fold {fold} has {len(train)} training scans; expected at least config.options.inner_folds, "
                f"{self.inner_folds}"
            )
        stage_one = self._fit_binary(train, valid, workdir / STAGE_ONE, fold)
        self._store_priors(stage_one, valid, stage_one.grid, workdir / PRIORS)
        for number, part in enumerate(inner_parts(train, self.inner_folds, seed=training_seed(self.config), fold=fold)):
            held_out = {scan.number for scan in part}
            others = [scan for scan in train if scan.number not in held_out]
            inner = self._fit_binary(others, valid, workdir / f"{INNER}_{number}", fold)
            self._store_priors(inner, part, stage_one.grid, workdir / PRIORS)
        say(f"fold {fold}: stage two, on the probabilities of stage one")
        second = super().fit(train, valid, workdir=workdir, fold=fold)
        return SubtypeParams(**vars(second), stage_one=stage_one)

    def _fit_binary(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], folder: pathlib.Path, fold: int
    ) -> PatchNetworkParams:
        say(f"fold {fold}: stage one on {len(train)} training scans -> {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        return self._stage_one.fit(train, valid, workdir=folder, fold=fold)

    def _store_priors(
        self, params: PatchNetworkParams, scans: Sequence[CachedScan], grid: Geometry, folder: pathlib.Path
    ) -> None:
        """Predicts scans and stores the probabilities on a grid; those that are there are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        for scan in hosts.share(scans):
            path = _prior_file(folder, scan)
            if _is_stored(path, (len(scan.volume.hu), grid.height, grid.width)):
                continue
            probability = np.asarray(self._stage_one.predict(params, scan.volume).probability)
            on_grid = np.clip(regrid.to_grid(probability, scan.volume, grid), 0.0, 1.0)
            with atomic(path) as temporary:
                np.save(temporary, np.rint(PRIOR_LEVELS * on_grid).astype(np.uint8))
        hosts.wait(f"priors in {folder} are stored")

    def _on_grid(self, scan: CachedScan, grid: Geometry, workdir: pathlib.Path) -> CachedScan:
        prior = np.load(_prior_file(workdir / PRIORS, scan), mmap_mode="r")
        return dataclasses.replace(super()._on_grid(scan, grid, workdir), prior=prior)

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """Predicts with the first network, and with the second from its probability; all stays on the device.

        The probability is 1 - background of the second network. If `config.predict.inside_skull` restricts the first
        one, both are restricted: outside the skull the background is 1. Scores of slices are those of the first one's
        second head; without one, the highest probability of each sub-type on a slice.
        """
        assert isinstance(params, SubtypeParams)
        first = self._stage_one.predict(params.stage_one, volume)
        second = super().predict(params, volume, prior=self._levels(first.probability) if prior is None else prior)
        scores = first.subtype_scores
        if scores is None and second.class_probability is not None:
            scores = second.class_probability[..., 1:].max(axis=(1, 2))
        return second._replace(slice_scores=first.slice_scores, subtype_scores=scores)

    def estimate_seconds(self, params: PatchNetworkParams, volume: Volume) -> float:
        """As `PatchNetworkMethod.estimate_seconds`, of both networks."""
        assert isinstance(params, SubtypeParams)
        return self._stage_one.estimate_seconds(params.stage_one, volume) + super().estimate_seconds(params, volume)

    def load(self, workdir: pathlib.Path) -> SubtypeParams:
        """Reads both networks; raises as `PatchNetworkMethod.load`."""
        second = super().load(workdir)
        return SubtypeParams(**vars(second), stage_one=self._stage_one.load(workdir / STAGE_ONE))

    def chosen(self, params: PatchNetworkParams) -> dict:
        """The best epoch of the second network and its validation Jaccard; the same of the first."""
        assert isinstance(params, SubtypeParams)
        first = {f"{STAGE_ONE}_{name}": value for name, value in params.stage_one.chosen.items()}
        return super().chosen(params) | first

    def fingerprint(self, params: PatchNetworkParams) -> str:
        """A digest of both networks."""
        assert isinstance(params, SubtypeParams)
        return digest([self._stage_one.fingerprint(params.stage_one), super().fingerprint(params)])


def inner_parts(scans: Sequence[CachedScan], count: int, *, seed: int, fold: int) -> list[list[CachedScan]]:
    """Divides scans into `count` parts with about the same number of scans with each set of sub-types.

    Depends on (seed, fold) and the scans' numbers and labels, not on their order.
    """
    by_number = sorted(scans, key=lambda scan: scan.number)
    shuffled = np.random.default_rng([seed, fold, count]).permutation(len(by_number))
    kinds = [(bool(scan.truth_px.any()), scan.slice_labels.max(axis=0).tolist()) for scan in by_number]
    order = sorted(shuffled.tolist(), key=lambda index: kinds[index])  # stable: scans of a kind stay shuffled
    return [[by_number[index] for index in order[start::count]] for start in range(count)]


def _prior_file(folder: pathlib.Path, scan: CachedScan) -> pathlib.Path:
    return folder / f"{scan.number}.npy"


def _is_stored(path: pathlib.Path, shape: tuple[int, ...]) -> bool:
    """Whether a prior can be read; a damaged one is made again."""
    try:
        prior = np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError):
        return False
    return prior.shape == shape and prior.dtype == np.uint8


def _options(config: Config) -> dict[str, Any]:
    """`config.options` with defaults.

    Raises:
      InputError: an unknown or invalid option, or a field that this method cannot follow.
    """
    if unknown := set(config.options) - set(DEFAULTS):
        raise InputError(
            f"config.options.{min(unknown)} is unknown to this method; expected one of {', '.join(DEFAULTS)}"
        )
    options = {name: config.options.get(name, value) for name, value in DEFAULTS.items()}
    folds, blank = options["inner_folds"], options["prior_blank"]
    rules = [
        (isinstance(folds, int) and folds >= 2, "options.inner_folds", folds, "a whole number, 2 or more"),
        (isinstance(blank, int | float) and 0 <= blank <= 1, "options.prior_blank", blank, "0 to 1"),
        (config.parallel_folds < 2, "parallel_folds", config.parallel_folds, "0 with sub-types"),
        (config.model.encoder == "residual", "model.encoder", config.model.encoder, "'residual', for sub-types"),
        (not config.train.focal_gamma, "train.focal_gamma", config.train.focal_gamma, "0 with sub-types"),
        (not config.predict.min_max_stretch, "predict.min_max_stretch", True, "False with sub-types"),
        (not config.predict.quantize_8bit, "predict.quantize_8bit", True, "False with sub-types"),
        (
            invalid_reason(config.data.splits) is None,
            "data.splits",
            config.data.splits,
            "'paper' or 'stratified', since priors are made by subject",
        ),
    ]
    for holds, name, value, expected in rules:
        if not holds:
            raise InputError(f"config.{name} is {value!r}; expected {expected}")
    return options


make = SubtypeMethod
