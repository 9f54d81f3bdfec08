"""Tables of results: for the terminal, as CSV, and for the report."""
