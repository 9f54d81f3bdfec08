"""Scores, curves and statistics of predicted masks and probabilities."""
