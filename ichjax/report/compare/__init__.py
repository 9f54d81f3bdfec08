"""Paired comparison of two runs on the subjects they share."""
