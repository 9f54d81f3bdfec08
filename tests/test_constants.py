"""One name, one meaning: a constant is defined once, and constants that differ have different names."""

import ast
import collections
import pathlib
import re

import pytest

from ichjax import config as configs
from ichjax.data import patch_index
from ichjax.data.label_tables import FIRST_NUMBER, SUBTYPES
from ichjax.data.splits import PAPER_ORDER
from ichjax.ops import hu
from ichjax.phantom.lesions import EDH, IPH, IVH, SAH, SDH
from ichjax.scan import volume
from tests.expected import SLICE_RULE_MM2

ROOT = pathlib.Path(__file__).parents[1]
FILE_NAME = re.compile(r"[\w-]+\.(json|jsonl|csv|txt|npy|html)")
# Equal by chance or for a reason: what they are, and why there are two.
MAY_BE_EQUAL = {
    ("NIFTI_MASKS", "OWN_MASKS"): "folders of two layouts",
    ("MODEL_FILE", "RECORD_FILE"): "model.json of an exported program, and of a trained fold",
}
MAY_REPEAT = {"model.json": "of a trained fold, and of an exported program"}


def modules(root):
    """{'scan/volume.py': its syntax tree} of every module of the package and of the benchmarks."""
    return {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in ("ichjax", "benchmarks")
        for path in sorted((root / package).rglob("*.py"))
    }


def assigned(target, value):
    """(name, its value or None where it comes out of an unpacked expression) of an assignment's target."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        values = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
        for k, inner in enumerate(target.elts):
            yield from assigned(inner, values and values[k])


def constants(tree):
    """(NAME, its value) of every ALL_CAPS name that a module defines for itself."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _annotated(node) else []
        for target in targets:
            yield from ((name, value) for name, value in assigned(target, node.value) if name.isupper())


def _annotated(node):
    return isinstance(node, ast.AnnAssign) and node.value is not None


def defined_twice(trees):
    """{NAME: the modules that define it}, where there are several; _NAME and NAME are the same."""
    where = collections.defaultdict(list)
    for module, tree in trees.items():
        for name in sorted({name.lstrip("_") for name, _ in constants(tree)}):
            where[name].append(module)
    return {name: places for name, places in where.items() if len(places) > 1}


def equal_values(trees):
    """The names of strings and of collections of literals that are the same in two modules; a number may well be equal
    to another that means something else."""
    where = collections.defaultdict(set)
    for module, tree in trees.items():
        for name, value in constants(tree):
            try:
                literal = ast.literal_eval(value) if value is not None else 0
            except ValueError:  # not of literals alone
                continue
            if isinstance(literal, str) or (hasattr(literal, "__len__") and len(literal) > 1):
                where[repr(literal)].add((module, name))
    return {
        tuple(sorted(name for _, name in places))
        for places in where.values()
        if len({module for module, _ in places}) > 1
    }


def repeated_file_names(trees):
    """{file name: the modules that write it out}, where there are several."""
    where = collections.defaultdict(set)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
                where[node.value].add(module)
    return {name: sorted(places) for name, places in where.items() if len(places) > 1}


def number_literals(trees, number):
    """[(module, line)] where a number stands in code."""
    return [
        (module, node.lineno)
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == number
    ]


@pytest.fixture(scope="module")
def trees():
    return modules(ROOT)


def test_a_name_is_defined_once(trees):
    assert defined_twice(trees) == {}


def test_a_value_is_defined_once(trees):
    assert equal_values(trees) == set(MAY_BE_EQUAL)


def test_a_file_s_name_is_written_out_once(trees):
    in_package = {module: tree for module, tree in trees.items() if module.startswith("ichjax/")}
    assert set(repeated_file_names(in_package)) == set(MAY_REPEAT)


def test_the_slice_rule_is_written_out_once(trees):
    assert [module for module, _ in number_literals(trees, SLICE_RULE_MM2)] == ["ichjax/config.py"]
    assert configs.default().evaluate.slice_rule_mm2 == SLICE_RULE_MM2


def test_the_brain_window_is_the_same_as_level_and_width_and_from_black_to_white():
    """`ops` may not import `data`, nor may `config`: each says the window in its own terms."""
    low, high = volume.BRAIN_WINDOW_HU
    assert configs.default().windows == (((low + high) / 2, high - low),)
    assert configs.default().windows[0] == (hu.BRAIN_LEVEL_HU, hu.BRAIN_WIDTH_HU)


def test_what_the_configuration_offers_is_what_the_patches_know():
    assert configs.CHOICES["train.negatives"] == patch_index.NEGATIVE_CHOICES
    assert configs.CHOICES["train.slices"] == patch_index.SLICE_CHOICES


def test_what_is_known_of_the_real_set():
    assert SUBTYPES == ("IVH", "IPH", "SAH", "EDH", "SDH")
    assert [SUBTYPES[index] for index in (IVH, IPH, SAH, EDH, SDH)] == list(SUBTYPES)
    assert FIRST_NUMBER == 49
    assert sorted(PAPER_ORDER) == list(range(82))


def test_these_tests_can_fail(tmp_path):
    """The same functions on a small package with each fault."""
    sources = {
        "ichjax/a.py": "AIR_HU = -1024\nBONE, _SKIN = 300, -200\nNAMES = ('x', 'y')\nFILE = 'a.json'\nx = 43.6\n",
        "ichjax/data/b.py": "AIR_HU: int = -500\nSKIN = 7\nOTHER = ('x', 'y')\ndef f(x=43.6):\n    BONE = 'a.json'\n",
        "benchmarks/c.py": "lower = 1\nA, B = range(2)\nBONE_HU: int\n(C, D), E = (1, 2), 3\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    trees = modules(tmp_path)
    both = ["ichjax/a.py", "ichjax/data/b.py"]
    assert defined_twice(trees) == {"AIR_HU": both, "SKIN": both}
    assert [name for name, _ in constants(trees["benchmarks/c.py"])] == ["A", "B", "C", "D", "E"]
    assert equal_values(trees) == {("NAMES", "OTHER")}
    assert repeated_file_names(trees) == {"a.json": both}
    assert [module for module, _ in number_literals(trees, 43.6)] == both
