"""The ingredients of the training recipe that `ablation` tries: each a change of fields of the base configuration."""

from typing import Any

BASE = "base"
INGREDIENTS: dict[str, dict[str, Any]] = {
    BASE: {},
    # Network
    "plain_encoder": {
        "model.encoder": "plain",
        "model.norm": "group",
        "model.blocks": (),
        "train.learning_rate": 2e-3,  # at the base's it learns nothing after its first epoch
    },
    "group_norm": {"model.norm": "group"},
    "deep_supervision": {"model.deep_supervision": True},
    "slices_as_channels": {"model.neighbors": 1},
    "slice_convolution": {"model.neighbors": 1, "model.slice_levels": 2},
    "wider": {"model.base_width": 16},
    # Input
    "brain_window": {"windows": ((40.0, 120.0),)},
    "mirrored_channel": {"model.mirrored_channel": True},
    "fine_grid": {"grid.side": 256, "patch.side": 96, "patch.stride": 32},
    "larger_patches": {"patch.side": 96, "patch.stride": 32},
    # Loss
    "cross_entropy": {"train.dice_weight": 0.0},
    "focal": {"train.focal_gamma": 2.0},
    "no_positive_weight": {"train.positive_weight": 1.0},
    # Optimization
    "sgd": {"train.optimizer": "sgd", "train.learning_rate": 1e-2, "train.schedule": "poly", "train.clip_norm": 12.0},
    "small_batches": {"train.batch_size": 4, "train.learning_rate": 4e-3},
    "no_average": {"train.ema_decay": 0.0},
    # Sampling and augmentation
    "patch_sampling": {"train.sampling": "patches"},
    "hard_negatives": {"train.hard_negatives": 0.3, "train.mine_every": 5},
    "no_augmentation": {
        "transforms.affine_probability": 0.0,
        "transforms.mirror_probability": 0.0,
        "transforms.calibration_probability": 0.0,
        "transforms.noise_probability": 0.0,
        "transforms.blur_probability": 0.0,
    },
    "elastic": {"transforms.elastic_probability": 0.3},
    "cupping": {"transforms.cupping_probability": 0.3},
    "gamma_blank_low_resolution": {
        "transforms.gamma_probability": 0.2,
        "transforms.blank_probability": 0.2,
        "transforms.low_resolution_probability": 0.2,
    },
    # Prediction
    "no_mirror": {"predict.mirror": False},
    "outside_skull_too": {"predict.inside_skull": False},
}
FINALISTS: tuple[str, ...] = ("cross_entropy", "larger_patches", "hard_negatives")  # by the screening so far
