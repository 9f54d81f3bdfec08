"""A trained network on patches alone, to be converted for other runtimes."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from ichjax.data.regrid import Geometry
from ichjax.models.network import Network


class PatchProgram(NamedTuple):
    """A trained network as a function of patches, to be converted for other runtimes.

    Attributes:
      probability: a traceable function in float32, from HU of patches [B, P, P] to their probability [B, P, P].
      side: P.
      pixel_mm: (rows, columns) of the slices that patches are cut from.
      windows: HU level and width of each channel that the network makes of a patch.
    """

    probability: Callable[[jax.Array], jax.Array]
    side: int
    pixel_mm: tuple[float, float]
    windows: tuple[tuple[float, float], ...]


class Trained(Protocol):
    """A network's parameters, and the grid of the slices that it was trained on."""

    @property
    def weights(self) -> dict[str, Any]: ...

    @property
    def grid(self) -> Geometry: ...


def make(network: Network, trained: Trained, *, side: int) -> PatchProgram | None:
    """The program of a network for patches of side P; None if it sees other slices, mirrored ones, or a prior."""
    if network.neighbors or network.mirrored_channel or network.priors:
        return None
    in_float32, weights = network.in_float32(), jax.device_get(trained.weights)

    def probability(hu: jax.Array) -> jax.Array:
        return in_float32.probability(weights, in_float32.mark_corner(in_float32.images(hu)))

    return PatchProgram(probability, side, (trained.grid.row_mm, trained.grid.column_mm), network.windows)
