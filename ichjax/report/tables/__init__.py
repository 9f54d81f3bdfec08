"""The tables of a run: on the terminal, as CSV, and those of the paper."""
