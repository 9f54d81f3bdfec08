"""Experiments: cross-validation, tuning and scoring."""
