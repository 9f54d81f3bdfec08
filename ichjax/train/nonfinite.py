"""What happens after an update that is not finite: the run ends with a sentence, or goes on without the update."""

from collections.abc import Callable

import numpy as np

from ichjax.config import Config
from ichjax.data.loader import Order
from ichjax.errors import InputError
from ichjax.train import checkpoint
from ichjax.train.step import Update


def make_on_update(
    config: Config, epochs: Order, steps: int, fold: int, checkpoints: checkpoint.Checkpoints
) -> Callable[[int, Update], None]:
    """The check of each update: `refuse_nonfinite`, or nothing if `config.on_nonfinite` is 'skip'."""
    if config.on_nonfinite == "skip":
        return lambda step, update: None
    size = config.train.batch_size
    return refuse_nonfinite(
        fold=fold,
        learning_rate=config.train.learning_rate,
        examples=lambda step: epochs.order(step // steps)[step % steps * size :][:size],
        saved=checkpoints.latest,
    )


def refuse_nonfinite(
    *, fold: int, learning_rate: float, examples: Callable[[int], np.ndarray], saved: Callable[[], int]
) -> Callable[[int, Update], None]:
    """An `on_update` for `run_epoch` that ends the run at an update that is not finite.

    Args:
      fold: for the message.
      learning_rate: for the message.
      examples: maps a step to its batch's rows of the patch table.
      saved: returns the step of the newest checkpoint, 0 for none.
    """

    def check(step: int, update: Update) -> None:
        if update["finite"]:
            return
        rows = ", ".join(map(str, examples(step)))
        last = saved()
        kept = f"the checkpoint of step {last} is kept" if last else "no checkpoint was saved before it"
        raise InputError(
            f"fold {fold} step {step}: loss {update['loss']:g}, gradient norm {update['gradient_norm']:g}, examples "
            f"{rows}; expected finite values: set config.train.learning_rate below {learning_rate:g}, or "
            f"config.on_nonfinite=skip; {kept}"
        )

    return check
