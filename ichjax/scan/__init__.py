"""One head CT: volumes, NIfTI files, world grids and slabs. NumPy only."""
