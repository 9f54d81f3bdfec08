"""Pre-training of a U-Net's encoder on slice labels (RSNA 2019), for `config.init_from`.

The network is the U-Net of the configuration, whose encoder is trained on whole scans, with a head for slices and one,
behind a GRU, for the slices of a scan (`models.pretraining`). Its loss is that of the challenge. The work directory is
like that of `train`, with one fold; besides it has the scores on the scans that were held out (pretraining.json), and
what identifies the scans that were trained on (seen_in_pretraining.json), so that they are refused as test scans.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ichjax import config as configs
from ichjax import hosts, xla
from ichjax.config import Config, fields_of, training_seed
from ichjax.console import say
from ichjax.data import leak_guard, loader, rsna
from ichjax.data.labeled_stacks import LabeledOrder, LabeledStackReader
from ichjax.data.rsna_index import open_index
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.data.rsna_reader import ScanReader
from ichjax.errors import InputError
from ichjax.experiment import setup
from ichjax.files import CONFIG_FILE, claim, write_json
from ichjax.methods.base import WEIGHTS_FOLDER
from ichjax.methods.sequence_method import whole_slices
from ichjax.metrics import roc
from ichjax.models import residual_unet, unet
from ichjax.models.pretraining import EncoderClassifier
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.models.slice_head import LABEL_WEIGHTS
from ichjax.train.fold import FoldData
from ichjax.train.loop import train_on

PRETRAINING_FILE = "pretraining.json"
PRETRAINING_OPTIONS = {"stack": 32, "hidden": 64}  # of config.options.pretraining, by default


def pretrain(config: Config, workdir: pathlib.Path) -> None:
    """Trains the encoder on the fold `config.fold` of an RSNA 2019 set; resumes what is unfinished.

    Raises:
      InputError: the data set is of another layout, a field has an invalid value, the work directory belongs to
        another configuration, or as `train.loop.train_on`.
    """
    xla.start(deterministic=config.deterministic)
    network, options = network_of(config)
    setup.check_workdir(config, workdir)
    index = open_index(setup.dataset_root(config))
    folds = rsna.split(index, folds=config.data.folds, seed=config.seed)
    fold = folds.folds[config.fold]
    folder = workdir / f"fold_{config.fold}"
    folder.mkdir(parents=True, exist_ok=True)
    with claim(folder):
        write_json(workdir / CONFIG_FILE, configs.to_dict(config))
        train, valid, test = (rsna.scans_of(index, part) for part in (fold.train, fold.validation, fold.test))
        say(f"pre-training on {len(train)} scans with slice labels; {len(valid)} to select on, {len(test)} to score")
        reader = LabeledStackReader(ScanReader(index, depth=options["stack"], side=config.grid.side))
        data = _data(config, reader, train, valid)
        fitted = train_on(config, network, data, folder=folder, fold=config.fold)
        if hosts.is_first():  # before there are weights, so that these never lie there without it
            seen = leak_guard.collect(rsna.identify_scans(index, [*train, *valid]))
            leak_guard.write(seen, workdir / leak_guard.SEEN_FILE)
        hosts.wait("scans are recorded")
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((folder / WEIGHTS_FOLDER).resolve(), fitted.params, force=True)
        if hosts.is_first():
            scores = _scores(config, network, fitted.params, reader, test)
            record = {**setup.provenance(config), "epoch": fitted.epoch, "scans": len(test), **scores}
            write_json(workdir / PRETRAINING_FILE, record)
            single, area = scores["log_loss_own_head"], scores["slice_area"]["any"]
            shown = "" if area is None else f", AUC of slices {area:.3f}"
            say(f"log-loss {scores['log_loss']:.4f} ({single:.4f} by single slices){shown} -> {workdir}")


def network_of(config: Config) -> tuple[SequenceNetwork, dict[str, Any]]:
    """The network of a configuration, which is changed to whole slices, and `config.options.pretraining`."""
    given = fields_of(config.options).get("pretraining", {})
    if unknown := set(given) - set(PRETRAINING_OPTIONS):
        expected = ", ".join(PRETRAINING_OPTIONS)
        raise InputError(f"config.options.pretraining.{min(unknown)} is unknown; expected one of {expected}")
    options = PRETRAINING_OPTIONS | given
    whole_slices(config)
    plain = (residual_unet if config.model.encoder == "residual" else unet).network_from_config(config)
    fields = unet.network_fields(config) | {"slice_head_weight": 1.0}
    module = EncoderClassifier(plain.module, options["hidden"])
    return SequenceNetwork(module, **fields, stack=options["stack"], segments=False), options


def _data(config: Config, reader: LabeledStackReader, train: np.ndarray, valid: np.ndarray) -> FoldData:
    seed = training_seed(config)
    windows = [reader.scans.windows_of(part) for part in (train, valid)]
    orders = LabeledOrder(windows[0], seed, config.train.examples_per_epoch), LabeledOrder(windows[1], seed)
    size = config.train.batch_size
    scans = len(train), len(valid)
    return FoldData(reader, orders[0], reader, orders[1], scans, orders[0].steps(size), -(-len(windows[1]) // size))


def _scores(
    config: Config, network: SequenceNetwork, params: dict, reader: LabeledStackReader, test: np.ndarray
) -> dict[str, Any]:
    """The challenge's weighted log-loss by both heads, and areas under the ROC curve of slices and scans.

    A slice of several windows of a long scan has the mean of their logits.
    """

    @jax.jit
    def logits_of(params: dict, image: jax.Array, slices: jax.Array) -> tuple[jax.Array, jax.Array]:
        decoded, real = network.decoded(params, network.images(image), slices)
        of_scan, own = jnp.asarray(decoded.slices), decoded.further_slices[0]
        return of_scan.reshape(*real.shape, -1), own.reshape(*real.shape, -1)

    slices = reader.scans.index.slices
    sums, seen = np.zeros((2, len(slices), len(DETECTION_LABELS))), np.zeros(len(slices), int)
    for batch in loader.fixed_batches(reader, reader.scans.windows_of(test), batch_size=config.train.batch_size):
        logits = np.asarray(logits_of(params, batch["image"], batch["slices"]), np.float64)
        for row in np.flatnonzero(batch["weight"]):
            numbers = reader.scans.slice_numbers(int(batch["index"][row]))
            known = (batch["labels"][row, : len(numbers)] >= 0).all(axis=1)
            sums[:, numbers[known]] += logits[:, row, : len(numbers)][:, known]
            seen[numbers[known]] += 1
    scored = [numbers[seen[numbers] > 0] for numbers in (np.asarray(reader.scans.index.slice_numbers(s)) for s in test)]
    labels = [slices["labels"][numbers].astype(bool) for numbers in scored]
    by_scan, own = ([each[numbers] / seen[numbers, None] for numbers in scored] for each in sums)
    return {
        "log_loss": weighted_log_loss(np.concatenate(by_scan), np.concatenate(labels)),
        "log_loss_own_head": weighted_log_loss(np.concatenate(own), np.concatenate(labels)),
        "slices": sum(map(len, labels)),
        "slice_area": _areas(np.concatenate(by_scan), np.concatenate(labels)),
        "scan_area": _areas(
            np.stack([logits.max(axis=0) for logits in by_scan if len(logits)]),
            np.stack([truth.any(axis=0) for truth in labels if len(truth)]),
        ),
    }


def weighted_log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """The challenge's score: the log-loss of slices, in which any hemorrhage counts twice.

    Args:
      logits: float64 [N, 6], of the sub-types and of any hemorrhage.
      truth: bool [N, 6].
    """
    losses = np.logaddexp(0.0, logits) - logits * truth
    return float((losses.mean(axis=0) * LABEL_WEIGHTS).sum() / sum(LABEL_WEIGHTS))


def _areas(scores: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """The area under the ROC curve of each label; None where a class is missing."""
    curves = [roc.detection_curves(scores[:, k], truth[:, k]) for k in range(len(DETECTION_LABELS))]
    return {name: curve and curve["area"] for name, curve in zip(DETECTION_LABELS, curves, strict=True)}
