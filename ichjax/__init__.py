"""ichjax: intracranial hemorrhage segmentation in head CT, in JAX. Research use only."""

__version__ = "0.1.0"
