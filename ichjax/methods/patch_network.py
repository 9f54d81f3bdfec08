"""Base class of methods that train a network on patches."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from ichjax import hosts
from ichjax.config import Config
from ichjax.console import duration, say
from ichjax.data import regrid
from ichjax.data.fold_scans import FoldScans
from ichjax.data.regrid import Geometry
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError, first_line
from ichjax.files import write_json
from ichjax.methods import patch_program
from ichjax.methods.base import (
    ASSUMED_SLICE_SPACING_MM,
    GATE_FIELDS,
    MODEL_FILE,
    WEIGHTS_FOLDER,
    Method,
    PostProcess,
    Prediction,
    TrainedOn,
    digest,
)
from ichjax.methods.slices import SlicePredictor
from ichjax.models.network import Network
from ichjax.ops.patches import grid_shape
from ichjax.scan.volume import Volume
from ichjax.train.fold import Fitted
from ichjax.train.loop import train_fold
from ichjax.train.parallel_folds import train_folds


@dataclasses.dataclass(frozen=True, eq=False)
class PatchNetworkParams:
    """The result of training a fold.

    Attributes:
      weights: the network's parameters, on every device.
      grid: matrix and pixel size of the training slices.
      trained_on: the training scans' own pixels and slice spacing; masks are closed and opened on these pixels.
      chosen: the epoch that validation selected, and its score.
    """

    weights: dict
    grid: Geometry
    trained_on: TrainedOn
    chosen: dict


class PatchNetworkMethod(Method):
    """Trains a `Network` with `train.loop` and predicts with `SlicePredictor`.

    A subclass defines its network and its title; everything else follows from the configuration.

    Attributes:
      predictor: what it predicts scans with.
      exportable: whether its network alone, slice by slice, is what it predicts with.
    """

    exportable: ClassVar[bool] = True
    predictor: ClassVar[type[SlicePredictor]] = SlicePredictor

    def __init__(self, config: Config, network: Network):
        predict, patch = config.predict, config.patch
        if patch.side % network.side_multiple:
            raise InputError(
                f"config.patch.side is {patch.side}; expected a multiple of {network.side_multiple}, as this network "
                "pools its input"
            )
        self.config, self.network = config, network
        self.post = PostProcess(
            predict.threshold,
            tuple(predict.thresholds),
            predict.closing_px,
            predict.opening_px,
            "fixed beforehand",
            **{name: getattr(predict, name) for name in GATE_FIELDS},
        )
        self.seams = None if config.grid.side or predict.whole_slices else (patch.side, patch.stride)
        mode = "whole slices" if predict.whole_slices else f"patches, {predict.stitch} mean"
        self.mode = f"{mode}, and mirrored" if predict.mirror else mode
        self._predictor = self._predictor_of(network)

    def _predictor_of(self, network: Network) -> SlicePredictor:
        """What predicts scans with a network, as the configuration says."""
        config, predict, patch = self.config, self.config.predict, self.config.patch
        return self.predictor(
            network,
            side=patch.side,
            stride=patch.stride,
            batch_size=predict.batch_size,
            whole_slices=predict.whole_slices,
            min_max_stretch=predict.min_max_stretch,
            quantize_8bit=predict.quantize_8bit,
            stitching=predict.stitch,
            mirror=predict.mirror,
            inside_skull=predict.inside_skull,
            border=config.grid.border,
        )

    def fit(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int
    ) -> PatchNetworkParams:
        """Trains one fold; see `loop.train_fold`.

        Raises:
          InputError: patches that do not cover the grid evenly, or as `loop.train_fold`.
        """
        if (workdir / MODEL_FILE).is_file():
            return self.load(workdir)
        grid, *resampled = self._on_common_grid(train, valid, workdir)
        fitted = self.train(*resampled, folder=workdir, fold=fold)
        spacing_mm, row_mm, column_mm = np.median([scan.volume.spacing_mm for scan in train], axis=0).tolist()
        trained_on = TrainedOn((row_mm, column_mm), spacing_mm)
        chosen = {"epoch": fitted.epoch, "validation_jaccard": fitted.validation_jaccard}
        params = PatchNetworkParams(self._predictor.replicate(fitted.params), grid, trained_on, chosen)
        chosen |= self.choose(params, train, valid)
        weights = (workdir / WEIGHTS_FOLDER).resolve()
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(weights, fitted.params, force=True)
        if hosts.is_first():
            record = {"grid": grid._asdict(), "pixel_mm": trained_on.pixel_mm, "gap_mm": spacing_mm, "chosen": chosen}
            write_json(workdir / MODEL_FILE, record)
        return params

    def train(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, folder: pathlib.Path, fold: int
    ) -> Fitted:
        """Trains the network on scans that are on one grid; see `loop.train_fold`."""
        return train_fold(self.config, self.network, train, valid, folder=folder, fold=fold)

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """What else is chosen on scans of the fold once the network is trained: numbers and lists, by name.

        They are kept in `params.chosen`. By default nothing.
        """
        return {}

    def fit_together(self, folds: Sequence[FoldScans]) -> None:
        """As `Method.fit_together`; raises as `parallel_folds.train_folds`."""
        finished = [(fold.folder / MODEL_FILE).is_file() for fold in folds]
        if all(finished):
            return
        on_grid = [self._on_common_grid(fold.train, fold.valid, fold.folder)[1:] for fold in folds]
        train_folds(
            self.config,
            self.network,
            [
                fold._replace(train=scans[0], valid=scans[1], finished=done)
                for fold, scans, done in zip(folds, on_grid, finished, strict=True)
            ],
        )

    def _on_common_grid(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], workdir: pathlib.Path
    ) -> tuple[Geometry, list[CachedScan], list[CachedScan]]:
        """The grid of a fold's scans, and these on it; InputError if patches do not cover it evenly."""
        side, border = self.config.grid.side, self.config.grid.border
        grid = regrid.common_grid([*train, *valid], side=side, border=border)
        grid_shape(grid.height, grid.width, side=self.config.patch.side, stride=self.config.patch.stride)
        parts = [[self._on_grid(scan, grid, workdir) for scan in scans] for scans in (train, valid)]
        return grid, parts[0], parts[1]

    def _on_grid(self, scan: CachedScan, grid: Geometry, workdir: pathlib.Path) -> CachedScan:
        """A scan as the network is trained on it; `workdir` is that of the fold."""
        return regrid.resample_to_grid(scan, grid)

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """Predicts with `SlicePredictor`.

        A scan whose matrix differs from the training grid, or whose pixels are over 20 % larger or smaller, is
        resampled in plane to that grid, and its probability back. `prior`: as in `SlicePredictor.predict_inside`.
        """
        own = regrid.own_grid(volume)
        probability, unrestricted, found, scores, classes = self._predictor.predict_inside(
            params.weights, volume.hu, own, params.grid, slice_mm=volume.spacing_mm[0], prior=prior
        )
        subtypes, any_hemorrhage = (None, None) if scores is None else (scores[:, :-1], scores[:, -1])
        return Prediction(probability, any_hemorrhage, subtypes, unrestricted, found, classes)

    def slice_program(self, params: PatchNetworkParams, own: Geometry) -> Callable[[jax.Array], jax.Array] | None:
        """As `Method.slice_program`; None if the network sees other slices, or the head's mid-plane."""
        if not self.exportable or self.network.neighbors or self.network.mirrored_channel:
            return None
        return lambda hu: self._predictor.predict_traced(params.weights, hu, own, params.grid)

    def patch_program(self, params: PatchNetworkParams) -> patch_program.PatchProgram | None:
        """As `Method.patch_program`; None as `patch_program.make`."""
        return patch_program.make(self.network, params, side=self.config.patch.side) if self.exportable else None

    def estimate_seconds(self, params: PatchNetworkParams, volume: Volume) -> float:
        """Seconds to predict a scan, from the measured time of its middle slices.

        A slight overestimate, since slices at the ends contain more air.
        """
        own = regrid.own_grid(volume)
        count = min(self._predictor.min_slices, len(volume.hu))
        middle_first = np.roll(volume.hu, -((len(volume.hu) - count) // 2), axis=0)
        times = []
        for _ in range(2):  # the first call compiles
            started = time.perf_counter()
            jax.block_until_ready(self._predictor.predict_first(params.weights, middle_first, count, own, params.grid))
            times.append(time.perf_counter() - started)
        return times[1] * -(-len(volume.hu) // count)

    def load(self, workdir: pathlib.Path) -> PatchNetworkParams:
        """Reads the results of `fit`.

        Raises:
          InputError: the fold is not finished, or its weights cannot be read.
        """
        try:
            record = json.loads((workdir / MODEL_FILE).read_text())
            grid = Geometry(**record["grid"])
            chosen = record["chosen"]
            trained_on = TrainedOn(tuple(record["pixel_mm"]), record.get("gap_mm", ASSUMED_SLICE_SPACING_MM))
            like = self.network.shapes(self.config.patch.side)
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
            with ocp.StandardCheckpointer() as checkpointer:
                weights = checkpointer.restore((workdir / WEIGHTS_FOLDER).resolve(), like)
        except FileNotFoundError as error:
            raise InputError(f"{workdir}: no finished fold; expected model.json and weights/ from `train`") from error
        except Exception as error:
            raise InputError(f"{workdir}: the trained weights cannot be read ({first_line(error)})") from error
        return PatchNetworkParams(self._predictor.replicate(weights), grid, trained_on, chosen)

    def chosen(self, params: PatchNetworkParams) -> dict:
        """The best epoch and its validation Jaccard."""
        return dict(params.chosen)

    def fingerprint(self, params: PatchNetworkParams) -> str:
        """A digest of the weights, their grid and the chosen epoch."""
        return digest([params.grid, params.chosen], params.weights)

    def trained_on(self, params: PatchNetworkParams) -> TrainedOn:
        """The training scans' own pixels and slice spacing."""
        return params.trained_on

    def announce(self, params: PatchNetworkParams, volumes: Sequence[Volume], what: str) -> None:
        """Prints an estimate of the time to predict `volumes`, measured on the first one."""
        if volumes:
            per_slice = self.estimate_seconds(params, volumes[0]) / len(volumes[0].hu)
            slices = sum(len(volume.hu) for volume in volumes)
            say(f"{what}: {slices} slices at {per_slice:.3f} s measured: about {duration(per_slice * slices)}")
