"""Convert a run's network to ONNX, from HU of patches to probability, and check it with onnxruntime."""

import contextlib
import functools
import importlib
import importlib.metadata
import json
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ichjax import xla
from ichjax.data import regrid
from ichjax.errors import InputError, first_line
from ichjax.experiment import setup
from ichjax.inference.model import TrainedRun
from ichjax.methods.patch_program import PatchProgram
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.portable import portable_form

ONNX_FILE = "network.onnx"
ONNX_PACKAGES = ("jax2onnx", "onnx", "onnxruntime")  # of requirements-onnx.txt
OPSET = 18
MAX_DIFFERENCE = 1e-4  # of a probability, from that of the JAX network
BLANK_HU = (-1024.0, 0.0, 35.0, 3071.0)  # below air, water, brain, and the highest that 12 bits hold
INPUT, OUTPUT = "hu", "probability"


def import_packages() -> tuple[Any, Any, Any]:
    """The modules `ONNX_PACKAGES`. They are optional, so that they are imported here and not with this module.

    Raises:
      InputError: one is missing or fails.
    """
    try:
        with _without_warnings():
            jax2onnx, onnx, onnxruntime = (importlib.import_module(name) for name in ONNX_PACKAGES)
    except Exception as error:  # a converter for another version of JAX fails in any way
        raise InputError(
            f"--onnx needs the packages {', '.join(ONNX_PACKAGES)}, but they cannot be imported ({first_line(error)}); "
            "install ichjax with its extra 'onnx' (pip install '.[onnx]' in its folder)"
        ) from error
    return jax2onnx, onnx, onnxruntime


def convert(trained: TrainedRun) -> bytes:
    """A run as an ONNX file: the mean probability of its folds' networks.

    Args:
      trained: a run of networks on patches.

    Returns:
      The file's content. Input 'hu' float32 [B, P, P] for any B, output 'probability' float32 [B, P, P]; its
      metadata_props describe both.

    Raises:
      InputError: packages are missing; the method has no network on single patches; folds differ in their pixel size;
        or as `convert_programs`.
    """
    import_packages()
    programs = [program for params in trained.params if (program := trained.method.patch_program(params))]
    if len(programs) < len(trained.params):
        raise InputError(
            f"--onnx: the run's method {trained.config.method!r} ({trained.method.title}) has no network on single "
            "patches to convert; expected one that has"
        )
    first = programs[0]
    for program in programs:
        if not regrid.same_pixels(first.pixel_mm, program.pixel_mm):
            raise InputError(
                f"--onnx: folds were trained on pixels of different sizes, {first.pixel_mm} and {program.pixel_mm} mm; "
                "expected one size, as their networks become one"
            )
    shape = f"float32 [B, {first.side}, {first.side}]"
    return convert_programs(
        programs,
        {
            "takes": f"{shape}, HU; rows to the back, columns to the patient's left",
            "gives": f"{shape}, the probability of hemorrhage",
            "patch_side": first.side,
            "pixel_mm": first.pixel_mm,
            "windows_hu": first.windows,
            "folds": trained.folds,
            "config_digest": trained.digest,
            "versions": setup.versions(),
            "use": "research use only",
        },
    )


def convert_programs(programs: Sequence[PatchProgram], properties: Mapping[str, object]) -> bytes:
    """Converts the mean of networks and checks the result against them.

    Args:
      programs: of one patch side.
      properties: for metadata_props, which hold strings; other values are written as JSON.

    Returns:
      The ONNX file's content.

    Raises:
      InputError: the converter or onnxruntime fails, or a probability differs by more than `MAX_DIFFERENCE`.
    """
    jax2onnx, onnx, onnxruntime = import_packages()
    side = programs[0].side

    def mean(hu: jax.Array) -> jax.Array:
        return functools.reduce(operator.add, [program.probability(hu) for program in programs]) / len(programs)

    patches = _test_patches(side)
    with xla_convolutions_only(), xla.compile_for("cpu"), jax.default_matmul_precision("highest"):
        expected = _in_batches(jax.jit(mean), patches)
    names: dict[str, Any] = {"model_name": "network", "input_names": [INPUT], "output_names": [OUTPUT]}
    try:
        with portable_form(), _without_warnings():
            model = jax2onnx.to_onnx(mean, [("B", side, side)], opset=OPSET, **names)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        converted = _in_batches(lambda hu: session.run([OUTPUT], {INPUT: hu})[0], patches)
        difference = np.abs(converted - expected).max()
    except Exception as error:  # of the converter, of protobuf (2 GB at most) or of the runtime, of any kind
        raise InputError(
            f"--onnx: the network cannot be converted by jax2onnx {importlib.metadata.version('jax2onnx')} "
            f"({first_line(error)}); expected one that it can convert"
        ) from error
    if not difference <= MAX_DIFFERENCE:  # NaN is refused too
        raise InputError(
            f"--onnx: the converted network's probabilities in onnxruntime {onnxruntime.__version__} differ by up to "
            f"{difference:.1e} from those in JAX; expected at most {MAX_DIFFERENCE}"
        )
    made = {"opset": OPSET, "max_difference": f"{difference:.1e}"}
    made |= {name: importlib.metadata.version(name) for name in ONNX_PACKAGES}
    all_properties = {**properties, **made}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in all_properties.items()}
    onnx.helper.set_model_props(model, texts)
    return model.SerializeToString()


def _test_patches(side: int) -> np.ndarray:
    """HU float32 [N, P, P]: noise over all HU, noise around brain, and blank patches."""
    rng = np.random.default_rng(0)
    noise = [rng.uniform(-1024, 3071, (side, side)), rng.normal(40, 30, (side, side)), rng.normal(40, 30, (side, side))]
    return np.array([*noise, *(np.full((side, side), hu) for hu in BLANK_HU)], np.float32)


def _in_batches(function: Callable[[np.ndarray], Any], patches: np.ndarray) -> np.ndarray:
    """A function of patches, two by two, to need little memory; of an odd number, so that the last batch has another
    size."""
    return np.concatenate([np.asarray(function(patches[k : k + 2])) for k in range(0, len(patches), 2)])


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Hides warnings of the converter, of which a conversion that succeeds has hundreds; its result is checked."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)
