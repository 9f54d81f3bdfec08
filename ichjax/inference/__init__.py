"""A trained run applied to any scans: finding them, masks, warnings, outputs, export."""
