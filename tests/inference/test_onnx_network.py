"""`export --onnx`: the converted network computes in onnxruntime what the network computes in JAX.

Tests with the fixture `onnxruntime` need the packages of requirements-onnx.txt and are skipped without: `make onnx`.
"""

import importlib
import json
import runpy
import shutil
import types

import jax
import numpy as np
import pytest

import ichjax
import launch
from ichjax.cli import config_files
from ichjax.errors import InputError
from ichjax.inference import export, onnx_network
from ichjax.inference import model as trained_runs
from ichjax.methods import registry
from ichjax.methods.patch_program import PatchProgram

pytestmark = pytest.mark.xdist_group("onnx")
SIDE = 16
THREE_WINDOWS = ((40.0, 120.0), (60.0, 60.0), (400.0, 1600.0))
RESIDUAL = {"model.encoder": "residual", "model.norm": "instance", "model.deep_supervision": True}
KINDS = {
    "the paper's": {"model.head": "paper", "model.norm": "none"},
    "corner pixel": {"patch.corner_pixel": True, "model.norm": "none"},
    "group normalization": {"model.norm": "group"},
    "instance normalization": {"model.norm": "instance"},
    "residual": RESIDUAL,
    "blocks and a light decoder": {**RESIDUAL, "model.blocks": (1, 3, 2), "model.decoder_convolutions": 2},
    "several windows": {"windows": THREE_WINDOWS},
    "residual, several windows": {**RESIDUAL, "windows": THREE_WINDOWS},
    "second head": {**RESIDUAL, "train.slice_head_weight": 0.5},
    "bfloat16": {**RESIDUAL, "model.dtype": "bfloat16"},
}


@pytest.fixture(scope="module")
def onnxruntime():
    for name in onnx_network.ONNX_PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed (make onnx)")
    return importlib.import_module("onnxruntime")


@pytest.fixture(scope="module")
def trained_like(tiny_config):
    """trained_like(**fields): a `PatchProgram` whose parameters are not those of the start, which has zero biases.

    With a normalization biases stay 0: with random ones, the probability of a blank patch is rounded by more than 1e-4
    in JAX itself.
    """

    def make(seed=0, **fields):
        method = registry.make("unet", tiny_config(**fields))
        rng = np.random.default_rng(seed)
        weights = method.network.init(jax.random.key(seed), SIDE)
        plain = method.config.model.norm == "none"

        def change(path, x):
            by = 0.1 if plain or x.ndim > 1 or "scale" in str(path) else 0.0
            return x + rng.normal(0, by, x.shape).astype(np.float32)

        weights = jax.tree_util.tree_map_with_path(change, weights)
        grid = types.SimpleNamespace(row_mm=6.0, column_mm=6.0)
        return method.patch_program(types.SimpleNamespace(weights=weights, grid=grid))

    return make


def patches(count):
    """HU float32 [B, P, P]: blood in brain, the first patch of air alone."""
    rng = np.random.default_rng(count)
    hu = rng.normal(35, 5, (count, SIDE, SIDE)).astype(np.float32)
    hu[:, 4:9, 5:12] += 35
    hu[0] = -1000
    return hu


def run(onnxruntime, content, hu):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("hu", "tensor(float)", [SIDE, SIDE])
    assert (result.name, result.type, result.shape[1:]) == ("probability", "tensor(float)", [SIDE, SIDE])
    assert isinstance(given.shape[0], str)  # any number of patches
    return session.run(None, {"hu": hu})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_network_gives_the_same_probabilities(onnxruntime, trained_like, kind):
    program = trained_like(**KINDS[kind])
    content = onnx_network.convert_programs([program], {})
    for count in (1, 5):
        expected = program.probability(patches(count))
        assert count == 1 or np.ptp(expected) > 1e-2  # else the comparison shows nothing; the first patch is air
        np.testing.assert_allclose(run(onnxruntime, content, patches(count)), expected, atol=1e-4)


def narrow(name):
    """A configuration of configs/, with a narrow network on small patches."""
    config = runpy.run_path(str(config_files.find_config(name)))["get_config"]()
    side = 4 * 2**config.model.depth
    config.update_from_flattened_dict(
        {"model.base_width": 4, "model.max_width": 8, "patch.side": side, "patch.stride": side}
    )
    return config


@pytest.mark.parametrize("name", config_files.shipped_configs())
def test_configurations_are_converted_or_have_no_network_on_patches(onnxruntime, monkeypatch, name):
    method = registry.make(narrow(name).method, narrow(name))
    if name in ("paper_threshold", "ich_subtypes") or not hasattr(method, "network"):
        assert method.patch_program(None) is None
        return
    weights = method.network.init(jax.random.key(0), method.config.patch.side)
    grid = types.SimpleNamespace(row_mm=0.5, column_mm=0.5)
    program = method.patch_program(types.SimpleNamespace(weights=weights, grid=grid))
    if name == "ich":  # untrained and 32 layers deep: it magnifies rounding to 1.1e-4, in JAX too
        monkeypatch.setattr(onnx_network, "MAX_DIFFERENCE", 1e-3)
    onnx_network.convert_programs([program], {})  # compares the networks


def test_the_folds_of_a_run_become_one_network(onnxruntime, trained_like):
    programs = [trained_like(seed) for seed in (0, 1, 2)]
    content = onnx_network.convert_programs(programs, {"takes": "patches", "folds": (0, 2)})
    hu = patches(3)
    expected = np.mean([program.probability(hu) for program in programs], axis=0)
    np.testing.assert_allclose(run(onnxruntime, content, hu), expected, atol=5e-5)


@pytest.fixture(scope="module")
def exported(onnxruntime, tiny_network_run, tmp_path_factory):
    """The folder that the command wrote."""
    output = tmp_path_factory.mktemp("onnx") / "out"
    words = ["export", f"--workdir={tiny_network_run}", f"--output={output}", "--side=32", "--platforms=cpu", "--onnx"]
    assert launch.main(words) == 0
    return output


def test_the_command_writes_the_run_as_an_onnx_file(exported, onnxruntime, tiny_network_run):
    trained = trained_runs.load_run(tiny_network_run)
    hu = patches(3)
    network = trained.method.network
    networks = [network.probability(params.weights, network.images(hu)) for params in trained.params]
    content = (exported / "network.onnx").read_bytes()
    np.testing.assert_allclose(run(onnxruntime, content, hu), np.mean(networks, axis=0), atol=1e-5)
    assert str(tiny_network_run.parent).encode() not in content
    assert b"site-packages" not in content


def test_the_file_describes_itself(exported, tiny_network_run):
    onnx = importlib.import_module("onnx")
    model = onnx.load(exported / "network.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    properties = {each.key: each.value for each in model.metadata_props}
    assert float(properties.pop("max_difference")) <= 1e-4
    versions = json.loads(properties.pop("versions"))
    assert (versions["ichjax"], versions["jax"]) == (ichjax.__version__, jax.__version__)
    record = json.loads((exported / "model.json").read_text())
    assert properties == {
        "takes": "float32 [B, 16, 16], HU; rows to the back, columns to the patient's left",
        "gives": "float32 [B, 16, 16], the probability of hemorrhage",
        "patch_side": "16",
        "pixel_mm": "[6.0, 6.0]",
        "windows_hu": "[[40.0, 120.0]]",
        "folds": "[0, 2]",
        "config_digest": record["config_digest"],
        "use": "research use only",
        "opset": "18",
        **{name: importlib.metadata.version(name) for name in ("jax2onnx", "onnx", "onnxruntime")},
    }


def test_another_export_removes_the_file_and_a_re_creation_keeps_it(exported, tiny_network_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    before = (folder / "network.onnx").read_bytes()
    assert launch.main(["export", f"--again={folder}"]) == 0
    assert (folder / "network.onnx").read_bytes() == before
    (folder / "network.onnx").unlink()
    assert launch.main(["export", f"--again={folder}", "--onnx"]) == 0
    assert (folder / "network.onnx").stat().st_size == len(before)
    words = ["export", f"--workdir={tiny_network_run}", f"--output={folder}", "--side=32", "--platforms=cpu"]
    assert launch.main(words) == 0
    assert not (folder / "network.onnx").exists()


def test_jax_computes_as_before_after_a_conversion(onnxruntime, trained_like):
    """The converter replaces functions of JAX while it traces."""
    program = trained_like(**RESIDUAL)
    before = jax.jit(program.probability)(patches(2))
    onnx_network.convert_programs([program], {})
    jax.clear_caches()
    np.testing.assert_array_equal(jax.jit(program.probability)(patches(2)), before)


# Without the packages:


def test_missing_packages_are_named_before_any_work(tiny_network_run, tmp_path, monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(export.trained_runs, "load_run", None)
    words = ["export", f"--workdir={tiny_network_run}", f"--output={tmp_path / 'out'}", "--onnx"]
    assert launch.main(words) == 2
    error = capsys.readouterr().err
    assert "--onnx needs the packages jax2onnx, onnx, onnxruntime, but they cannot be imported (No module" in error
    assert "pip install '.[onnx]'" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


class Converter:
    """Stands for the three packages; what it converts is wrong by `offset`."""

    __version__ = "1.0"

    def __init__(self, offset, failure=None):
        self.offset, self.failure = offset, failure
        self.helper, self.properties = self, None

    def to_onnx(self, function, inputs, **options):
        if self.failure:
            raise self.failure
        self.function = function
        return self

    def SerializeToString(self):
        return b"a model"

    def InferenceSession(self, content, providers):
        return self

    def run(self, names, feeds):
        return [np.asarray(self.function(feeds["hu"])) + np.float32(self.offset)]

    def set_model_props(self, model, properties):
        self.properties = properties


@pytest.fixture
def stand_in(monkeypatch):
    def use(offset=0.0, failure=None):
        converter = Converter(offset, failure)
        monkeypatch.setattr(onnx_network, "import_packages", lambda: (converter,) * 3)
        version = importlib.metadata.version
        known = dict.fromkeys(onnx_network.ONNX_PACKAGES, "1.0")
        monkeypatch.setattr(importlib.metadata, "version", lambda name: known.get(name) or version(name))
        return converter

    return use


def test_a_difference_of_up_to_1e_4_is_stated(stand_in, trained_like):
    converter = stand_in(offset=5e-5)
    assert onnx_network.convert_programs([trained_like(**{"model.norm": "none"})], {"side": 16}) == b"a model"
    assert converter.properties["max_difference"] == "5.0e-05"
    assert converter.properties["side"] == "16"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"offset": 2e-4}, "in onnxruntime 1.0 differ by up to 2.0e-04 from those in JAX; expected at most 0.0001"),
        ({"offset": np.nan}, "differ by up to nan from those"),
        ({"failure": TypeError("unknown op\nmore")}, "cannot be converted by jax2onnx 1.0 (unknown op); expected"),
        ({"failure": ValueError("exceeds maximum protobuf size of 2GB")}, "(exceeds maximum protobuf size of 2GB)"),
    ],
)
def test_a_wrong_or_failed_conversion_leaves_no_file(stand_in, tiny_network_run, tmp_path, capsys, options, said):
    stand_in(**options)
    words = ["export", f"--workdir={tiny_network_run}", "--side=32", "--platforms=cpu", "--onnx"]
    assert launch.main([*words, f"--output={tmp_path / 'out'}"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_without_a_network_on_single_patches_are_refused(stand_in, tiny_threshold_run, tmp_path, capsys):
    stand_in()
    words = ["export", f"--workdir={tiny_threshold_run}", f"--output={tmp_path / 'out'}", "--onnx"]
    assert launch.main(words) == 2
    assert "which cannot be exported" in capsys.readouterr().err
    method = types.SimpleNamespace(patch_program=lambda params: None, title="Made up")
    run = types.SimpleNamespace(params=(1,), method=method, config=types.SimpleNamespace(method="made_up"))
    with pytest.raises(InputError, match=r"'made_up' \(Made up\) has no network on single patches"):
        onnx_network.convert(run)


@pytest.mark.parametrize("field", [{"model.neighbors": 1}, {"model.mirrored_channel": True}])
def test_networks_that_see_other_slices_have_no_program_of_patches(tiny_config, field):
    assert registry.make("unet", tiny_config(**RESIDUAL, **field)).patch_program(None) is None


def test_folds_on_pixels_of_different_sizes_are_refused(stand_in):
    stand_in()
    programs = {k: PatchProgram(np.abs, SIDE, (mm, mm), THREE_WINDOWS) for k, mm in enumerate((0.5, 0.55, 0.7))}
    method = types.SimpleNamespace(patch_program=programs.get)
    with pytest.raises(InputError, match=r"different sizes, \(0\.5, 0\.5\) and \(0\.7, 0\.7\) mm"):
        onnx_network.convert(types.SimpleNamespace(params=(0, 1, 2), method=method))
