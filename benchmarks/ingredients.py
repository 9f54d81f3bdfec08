"""The ingredients of the training recipe that `ablation` tries: each a change of fields of the base configuration."""

from typing import Any

BASE = "base"
INGREDIENTS: dict[str, dict[str, Any]] = {BASE: {}}
FINALISTS: tuple[str, ...] = ()
