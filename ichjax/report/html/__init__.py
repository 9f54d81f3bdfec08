"""The HTML report of a run: a single page that works offline."""
