"""What a finished run is shown as: tables, figures, an HTML report, comparisons."""
