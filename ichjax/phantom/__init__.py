"""Synthetic head CTs with hemorrhages, and data sets made of them."""
