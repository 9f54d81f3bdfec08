"""Hard negatives: patches without a hemorrhage, drawn in proportion to the false positives of earlier weights."""

import dataclasses

import numpy as np


@dataclasses.dataclass(eq=False)
class HardNegatives:
    """The patches that are scored, and their scores.

    Attributes:
      share: of an epoch's negatives that are drawn by `draw`.
      rows: int64 [M], ascending, of the patch table.
      masses: {epochs completed when they were scored: float32 [M], the false-positive mass of each}.
    """

    share: float
    rows: np.ndarray
    masses: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def draw(self, rng: np.random.Generator, epoch: int, count: int) -> np.ndarray:
        """Draws rows in proportion to their latest masses, without replacement.

        An exponential random number is divided by each mass, and the smallest are drawn (Efraimidis and Spirakis,
        2006): as each row has its own random number, masses that differ by rounding, as on another number of devices,
        draw the same rows.

        Args:
          rng: of the epoch; not used before the first scores.
          epoch: counted from 0, so that many epochs were completed before it.
          count: negatives of the epoch.

        Returns:
          int64 [n], ascending: `share` of `count`, or fewer where fewer rows have a mass.
        """
        scored = [done for done in self.masses if done <= epoch]
        if not scored:
            return np.zeros(0, np.int64)
        masses = self.masses[max(scored)].astype(np.float64)
        possible = masses > 0
        keys = np.where(possible, rng.exponential(size=len(masses)) / np.where(possible, masses, 1.0), np.inf)
        wanted = min(round(self.share * count), int(possible.sum()))
        return np.sort(self.rows[np.argsort(keys, kind="stable")[:wanted]])
