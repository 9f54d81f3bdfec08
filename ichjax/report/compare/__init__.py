"""Comparison of two runs, subject by subject."""
