"""Every constant is defined once, and different constants have different names."""

import ast
import collections
import pathlib
import re

import pytest

from ichjax import config as configs
from ichjax import config_check
from ichjax.data import patch_index
from ichjax.data.label_tables import FIRST_NUMBER, SUBTYPES
from ichjax.data.splits import PAPER_ORDER
from ichjax.ops import hu
from ichjax.phantom.lesions import EDH, IPH, IVH, SAH, SDH
from ichjax.scan import volume
from tests.expected import SLICE_RULE_MM2
from tests.sources import write_sources

ROOT = pathlib.Path(__file__).parents[1]
FILE_NAME = re.compile(r"[\w-]+\.(json|jsonl|csv|txt|npy|html)")
# Constants that may be equal, and what they are.
MAY_BE_EQUAL = {
    ("NIFTI_MASKS", "OWN_MASKS"): "folders of two layouts",
    ("MODEL_FILE", "RECORD_FILE"): "model.json of an exported program, and of a trained fold",
}
MAY_REPEAT = {"model.json": "of a trained fold, and of an exported program"}


def modules(root):
    """{'ichjax/scan/volume.py': its syntax tree} of every module of the package and of the benchmarks."""
    return {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in ("ichjax", "benchmarks")
        for path in sorted((root / package).rglob("*.py"))
    }


def assigned(target, value):
    """Yields (name, value) of an assignment's target; the value is None if an expression is unpacked."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        values = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
        for k, inner in enumerate(target.elts):
            yield from assigned(inner, values and values[k])


def constants(tree):
    """Yields (NAME, value) of every ALL_CAPS name that a module assigns."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _annotated(node) else []
        for target in targets:
            yield from ((name, value) for name, value in assigned(target, node.value) if name.isupper())


def _annotated(node):
    return isinstance(node, ast.AnnAssign) and node.value is not None


def defined_twice(trees):
    """{NAME: the modules that define it} if there are several; _NAME and NAME are the same."""
    modules_of = collections.defaultdict(list)
    for module, tree in trees.items():
        for name in sorted({name.lstrip("_") for name, _ in constants(tree)}):
            modules_of[name].append(module)
    return {name: modules for name, modules in modules_of.items() if len(modules) > 1}


def equal_values(trees):
    """Tuples of the names of equal strings and equal collections of literals in different modules. Numbers are not
    compared: they may be equal and mean different things."""
    modules_of = collections.defaultdict(set)
    for module, tree in trees.items():
        for name, value in constants(tree):
            try:
                literal = ast.literal_eval(value) if value is not None else 0
            except ValueError:  # not only literals
                continue
            if isinstance(literal, str) or (hasattr(literal, "__len__") and len(literal) > 1):
                modules_of[repr(literal)].add((module, name))
    return {
        tuple(sorted(name for _, name in uses))
        for uses in modules_of.values()
        if len({module for module, _ in uses}) > 1
    }


def repeated_file_names(trees):
    """{file name: the modules that contain it as a literal} if there are several."""
    modules_of = collections.defaultdict(set)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
                modules_of[node.value].add(module)
    return {name: sorted(modules) for name, modules in modules_of.items() if len(modules) > 1}


def number_literals(trees, number):
    """[(module, line)] of every literal with that value."""
    return [
        (module, node.lineno)
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == number
    ]


@pytest.fixture(scope="module")
def trees():
    return modules(ROOT)


def test_every_constant_name_is_defined_once(trees):
    assert defined_twice(without_host_copy(trees)) == {}


def test_every_constant_value_is_defined_once(trees):
    assert equal_values(without_host_copy(trees)) == set(MAY_BE_EQUAL)


def without_host_copy(trees):
    """All modules but `scan.skull`, which never imports jax and has the constants of `ops.skull`."""
    return {module: tree for module, tree in trees.items() if module != "ichjax/scan/skull.py"}


def test_the_skull_has_the_same_constants_on_host_and_device(trees):
    host, device = (
        {name: ast.dump(value) for name, value in constants(trees[f"ichjax/{package}/skull.py"])}
        for package in ("scan", "ops")
    )
    assert device.items() <= host.items()


def test_every_file_name_is_a_literal_once(trees):
    in_package = {module: tree for module, tree in trees.items() if module.startswith("ichjax/")}
    assert set(repeated_file_names(in_package)) == set(MAY_REPEAT)


def test_the_slice_rule_is_a_literal_once(trees):
    assert [module for module, _ in number_literals(trees, SLICE_RULE_MM2)] == ["ichjax/config.py"]
    assert configs.default().evaluate.slice_rule_mm2 == SLICE_RULE_MM2


def test_the_brain_window_is_the_same_in_scan_config_and_ops():
    """`ops` and `config` may not import `scan`, so each defines the window in its own terms."""
    low, high = volume.BRAIN_WINDOW_HU
    assert configs.default().windows == (((low + high) / 2, high - low),)
    assert configs.default().windows[0] == (hu.BRAIN_LEVEL_HU, hu.BRAIN_WIDTH_HU)


def test_choices_of_the_configuration_are_those_of_the_patch_index():
    assert config_check.CHOICES["train.negatives"] == patch_index.NEGATIVE_CHOICES
    assert config_check.CHOICES["train.slices"] == patch_index.SLICE_CHOICES


def test_subtypes_and_subject_numbers_of_the_ct_ich_data_set():
    assert SUBTYPES == ("IVH", "IPH", "SAH", "EDH", "SDH")
    assert [SUBTYPES[index] for index in (IVH, IPH, SAH, EDH, SDH)] == list(SUBTYPES)
    assert FIRST_NUMBER == 49
    assert sorted(PAPER_ORDER) == list(range(82))


def test_the_checks_detect_each_fault_in_a_small_package(tmp_path):
    sources = {
        "ichjax/a.py": "AIR_HU = -1024\nBONE, _SKIN = 300, -200\nNAMES = ('x', 'y')\nFILE = 'a.json'\nx = 43.6\n",
        "ichjax/data/b.py": "AIR_HU: int = -500\nSKIN = 7\nOTHER = ('x', 'y')\ndef f(x=43.6):\n    BONE = 'a.json'\n",
        "benchmarks/c.py": "lower = 1\nA, B = range(2)\nBONE_HU: int\n(C, D), E = (1, 2), 3\n",
    }
    write_sources(tmp_path, sources)
    trees = modules(tmp_path)
    both = ["ichjax/a.py", "ichjax/data/b.py"]
    assert defined_twice(trees) == {"AIR_HU": both, "SKIN": both}
    assert [name for name, _ in constants(trees["benchmarks/c.py"])] == ["A", "B", "C", "D", "E"]
    assert equal_values(trees) == {("NAMES", "OTHER")}
    assert repeated_file_names(trees) == {"a.json": both}
    assert [module for module, _ in number_literals(trees, 43.6)] == both
