"""The scans of one fold and its folder, as methods that train several folds together take them."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from ichjax.data.scan_cache import CachedScan


class FoldScans(NamedTuple):
    """A fold to be trained.

    Attributes:
      number: of the fold.
      folder: that receives what it learns.
      train, valid: its readable scans.
      seed: of the training, `config.train.seed`; -1 for that of the method's configuration.
      finished: whether it has been trained; it then keeps its row in the program of the others.
    """

    number: int
    folder: pathlib.Path
    train: Sequence[CachedScan]
    valid: Sequence[CachedScan]
    seed: int = -1
    finished: bool = False
