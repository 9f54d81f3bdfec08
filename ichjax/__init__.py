"""ichjax: intracranial hemorrhage segmentation in head CT, in JAX. Research use only.

run = ichjax.load_run("runs/demo")
volume = ichjax.read("scan.nii.gz")      # or a folder with a DICOM series
found = ichjax.predict(volume, run)      # found.mask, found.probability [slices, rows, columns], as on a screen
ichjax.write("mask.nii.gz", found.mask, volume)  # on the scan's own grid
numbers = ichjax.describe(run, volume, found)    # what prediction.json holds
"""

import importlib

__version__ = "0.1.0"

# Where each function is; looked up when it is first used, so that `import ichjax` is quick.
_PLACES = {
    "load_run": ("inference.model", "load_run"),
    "predict": ("inference.model", "predict"),
    "describe": ("inference.model", "describe"),
    "read": ("inference.discover", "read_one"),
    "write": ("scan.nifti", "write_nifti"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'ichjax' has no attribute {name!r}")
    module, function = _PLACES[name]
    return getattr(importlib.import_module(f"ichjax.{module}"), function)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
