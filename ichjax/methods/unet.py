"""The paper's U-Net on patches (experiments 2 and 3), from scans to probability."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp

from ichjax.data import regrid
from ichjax.data.cache import CachedScan
from ichjax.data.regrid import Geometry
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.files import write_json
from ichjax.methods.base import PostProcess, Prediction
from ichjax.methods.slices import SlicePredictor
from ichjax.models.unet import layer_table
from ichjax.native import library
from ichjax.ops.patches import grid_shape
from ichjax.train import hosts
from ichjax.train.log import duration, say
from ichjax.train.loop import train_fold
from ichjax.train.state import make_model

USUAL_GAP_MM = 5.0  # of runs from before it was kept


@dataclasses.dataclass(frozen=True, eq=False)
class UNetParams:
    """weights: the network's.  grid: the slices it was trained on.  pixel_mm: (rows, columns) of the training
    scans themselves, on which masks are closed and opened.  chosen: what validation chose.  gap_mm: median distance of
    the training scans' slices."""

    weights: dict
    grid: Geometry
    pixel_mm: tuple[float, float]
    chosen: dict
    gap_mm: float = USUAL_GAP_MM


class UNetMethod:
    """Fits by `train.loop`, predicts by `SlicePredictor`."""

    def __init__(self, config: ml_collections.ConfigDict):
        self.config = config
        predict = config.predict
        self.post = PostProcess(
            predict.threshold, tuple(predict.thresholds), predict.closing_px, predict.opening_px, "fixed beforehand"
        )
        self._predictor = SlicePredictor(
            make_model(config),
            windows=config.windows,
            side=config.patch.side,
            stride=config.patch.stride,
            batch_size=predict.batch_size,
            whole_slices=predict.whole_slices,
            multiple=2**config.model.depth,
            corner_pixel=config.patch.corner_pixel,
            min_max_stretch=predict.min_max_stretch,
            quantize_8bit=predict.quantize_8bit,
            stitching=predict.stitch,
            mirror=predict.mirror,
        )

    def fit(
        self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int
    ) -> UNetParams:
        """Trains one fold; see `loop.train_fold`.

        Raises:
          InputError: a grid that the patches do not cover evenly, or as `loop.train_fold` does.
        """
        if (workdir / "model.json").is_file():
            return self.load(workdir)
        wanted = self.config.grid
        grid = regrid.common_grid([*train, *valid], side=wanted.side, border=wanted.border)
        grid_shape(grid.height, grid.width, side=self.config.patch.side, stride=self.config.patch.stride)
        seen = [[regrid.on_grid(scan, grid) for scan in scans] for scans in (train, valid)]
        fitted = train_fold(self.config, *seen, folder=workdir, fold=fold)
        gap_mm, row_mm, column_mm = np.median([scan.volume.spacing_mm for scan in train], axis=0).tolist()
        chosen = {"epoch": fitted.epoch, "validation_jaccard": fitted.validation_jaccard}
        weights = (workdir / "weights").resolve()
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(weights, fitted.params, force=True)
        params = UNetParams(self._predictor.place(fitted.params), grid, (row_mm, column_mm), chosen, gap_mm)
        if hosts.is_first():
            record = {"grid": grid._asdict(), "pixel_mm": params.pixel_mm, "gap_mm": gap_mm, "chosen": chosen}
            write_json(workdir / "model.json", record)
        return params

    def predict(self, params: UNetParams, volume: Volume) -> Prediction:
        """Windows, patches, network and stitching as one program; see `SlicePredictor`.

        A scan of another matrix size than the network's grid, or whose pixels are over 20 % larger or smaller, is
        resampled in plane to that grid, and the probability back to its own.
        """
        own = regrid.own_grid(volume)
        return Prediction(self._predictor(params.weights, volume.hu, own, params.grid))

    def traced(self, params: UNetParams, hu: jax.Array, own: Geometry) -> jax.Array:
        """As `predict`, of a few slices int16 [N, H, W] of the grid `own`, as part of a larger program."""
        return self._predictor.traced(params.weights, hu, own, params.grid)

    def estimate_seconds(self, params: UNetParams, volume: Volume) -> float:
        """Measures how long a slice in the middle takes on this machine, and so the scan; a little too long, as the
        slices at the ends show more air."""
        own = regrid.own_grid(volume)
        few = min(self._predictor.slices_at_once, len(volume.hu))
        middle = np.roll(volume.hu, -((len(volume.hu) - few) // 2), axis=0)
        times = []
        for _ in range(2):  # the first one compiles
            started = time.perf_counter()
            jax.block_until_ready(self._predictor.first_slices(params.weights, middle, few, own, params.grid))
            times.append(time.perf_counter() - started)
        return times[1] * -(-len(volume.hu) // few)

    def load(self, workdir: pathlib.Path) -> UNetParams:
        """Reads what `fit` wrote.

        Raises:
          InputError: the fold is not finished, or its weights cannot be read.
        """
        try:
            record = json.loads((workdir / "model.json").read_text())
            grid, pixel_mm = Geometry(**record["grid"]), tuple(record["pixel_mm"])
            with library.by_xla():
                like = jax.eval_shape(
                    make_model(self.config).init,
                    jax.random.key(0),
                    np.zeros((1, self.config.patch.side, self.config.patch.side, len(self.config.windows)), np.float32),
                )["params"]
            device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
            with ocp.StandardCheckpointer() as checkpointer:
                weights = checkpointer.restore((workdir / "weights").resolve(), like)
        except FileNotFoundError as error:
            raise InputError(f"{workdir}: no finished fold; expected model.json and weights/ from `train`") from error
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{workdir}: the trained weights cannot be read ({reason})") from error
        gap_mm = record.get("gap_mm", USUAL_GAP_MM)
        return UNetParams(self._predictor.place(weights), grid, pixel_mm, record["chosen"], gap_mm)

    def chosen(self, params: UNetParams) -> dict:
        """The best epoch and its validation Jaccard."""
        return dict(params.chosen)

    def layers(self) -> list[dict]:
        """The network layer by layer (paper, figure 3), for the report."""
        return layer_table(self.config)

    def announce(self, params: UNetParams, volumes: Sequence[Volume], what: str) -> None:
        """Says how long predicting `volumes` will take, measured on the first of them."""
        if volumes:
            per_slice = self.estimate_seconds(params, volumes[0]) / len(volumes[0].hu)
            slices = sum(len(volume.hu) for volume in volumes)
            say(f"{what}: {slices} slices at {per_slice:.3f} s measured: about {duration(per_slice * slices)}")


def make(config: ml_collections.ConfigDict) -> UNetMethod:
    """The method with the fields of `config`."""
    return UNetMethod(config)
