"""What to change when training runs out of memory."""

from collections.abc import Callable

import jax

from ichjax import xla
from ichjax.config import Config
from ichjax.train.resident import TURN_OFF, ResidentScans


def smaller_step(
    config: Config, devices: int, compiled: Callable[[int], jax.stages.Compiled], held: ResidentScans | None = None
) -> str:
    """What to set so that a training step fits, for an error message.

    Args:
      config: of the step that did not fit.
      devices: that share a batch.
      compiled: the step for another `config.train.accumulate`, compiled; see `xla.first_that_fits`.
      held: the scans in the devices' memory, if they are there.
    """
    instead, taken = (f"{TURN_OFF}, ", held.bytes_per_device) if held else ("", 0)
    share, accumulate = config.train.batch_size // devices, config.train.accumulate
    divisors = [parts for parts in range(accumulate + 1, share + 1) if share % parts == 0]
    parts = xla.first_that_fits(divisors, compiled, taken=taken)
    if parts is None:
        return f"{instead}a smaller config.model.base_width or config.patch.side"
    return (
        f"{instead}config.train.accumulate={parts}, which makes the same updates with {share // parts} patches per "
        f"device at a time, or config.train.batch_size={share // parts * accumulate * devices}"
    )


def smaller_validation(config: Config, devices: int) -> str:
    """What to set so that a validation step fits: half the batch, as validation does not accumulate."""
    share = config.train.batch_size // devices
    if share == 1:
        return "a smaller config.model.base_width or config.patch.side"
    return f"config.train.batch_size={share // 2 * devices}"
