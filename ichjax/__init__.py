"""ichjax: intracranial hemorrhage segmentation in head CT, in JAX. Research use only.

run = ichjax.load_run("runs/demo")
volume = ichjax.read("scan.nii.gz")      # or a folder with a DICOM series
prediction = ichjax.predict(volume, run)  # .mask and .probability [slices, rows, columns], oriented as on a screen
ichjax.write("mask.nii.gz", prediction.mask, volume)  # on the scan's own grid
record = ichjax.describe(run, volume, prediction)     # what prediction.json holds: volume in mL, lesions, warnings
"""

import importlib
from collections.abc import Callable

__version__ = "0.1.0"

# Module and name of each function; imported on first use, so that `import ichjax` is quick.
_FUNCTIONS = {
    "load_run": ("inference.model", "load_run"),
    "predict": ("inference.model", "predict"),
    "describe": ("inference.describe", "describe"),
    "load_program": ("inference.exported", "load"),
    "read": ("inference.discover", "read_one"),
    "write": ("scan.nifti", "write_nifti"),
}


def __getattr__(name: str) -> Callable:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'ichjax' has no attribute {name!r}")
    module, function = _FUNCTIONS[name]
    return getattr(importlib.import_module(f"ichjax.{module}"), function)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FUNCTIONS])
