"""How small classifiers of whole slices are trained: a few minutes from scratch on two CPU cores."""

from typing import Any

TRAIN: dict[str, Any] = {
    "epochs": 30,
    "examples_per_epoch": 0,
    "batch_size": 8,
    "accumulate": 1,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 20,
    "ema_decay": 0.97,
    "sampling": "patches",
    "negatives": "matched",
    "validation_negatives": "matched",
}
