"""Prediction of new scans with a trained run: input discovery, masks, warnings, output files, export."""
