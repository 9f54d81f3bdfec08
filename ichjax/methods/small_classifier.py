"""How small classifiers of whole slices are trained: a few minutes from scratch on two CPU cores."""

from typing import Any

TRAIN: dict[str, Any] = {
    "epochs": 40,
    "examples_per_epoch": 0,
    "batch_size": 8,
    "accumulate": 1,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 20,
    "clip_norm": 1.0,
    "ema_decay": 0.97,
    "sampling": "patches",
    "negatives": "matched",
    "validation_negatives": "matched",
}
# A small ResNet-18 had not begun to learn after 16 epochs with affine transforms at a learning rate of
# 2e-3; without them at 3e-3, it had.
AUGMENT: dict[str, Any] = {"rotation_degrees": 0.0, "shift": 0.0, "shear_degrees": 0.0, "zoom": 0.0}
