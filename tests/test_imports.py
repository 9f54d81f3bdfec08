"""Who may import whom: strictly downward, and data/ stays free of JAX, directly and through what it imports."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DEVICE_SIDE = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
HOST_SIDE = {"data", "dicom", "metrics", "phantom", "scan"}  # never import JAX
# Each part of the package, and the parts it may import beside itself: {data, ops, models} <- train <- methods
# <- {crossval, predict, export} <- launch; evaluate uses data and ops.
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "files": {"errors"},
    "config": {"errors"},
    "native": {"files"},
    "data": {"errors", "files", "scan"},
    "ops": {"errors"},
    "models": {"native", "ops"},
    "train": {"console", "data", "errors", "files", "hosts", "models", "ops", "xla"},
    "methods": {"console", "data", "errors", "files", "hosts", "models", "ops", "scan", "train", "xla"},
    "hosts": {"errors"},
    "prefetch": set(),
    "walk": set(),
    "xla": {"errors"},
    "console": {"hosts"},
    "cli": {"config", "data", "errors", "experiment", "hosts", "inference", "phantom", "report"},
    "dicom": {"__init__", "errors", "scan", "walk"},
    "experiment": {
        "__init__",
        "config",
        "console",
        "data",
        "errors",
        "files",
        "hosts",
        "methods",
        "metrics",
        "native",
        "ops",
        "phantom",
        "prefetch",
        "report",
        "scan",
        "xla",
    },
    "inference": {
        "__init__",
        "config",
        "console",
        "data",
        "dicom",
        "errors",
        "experiment",
        "files",
        "methods",
        "metrics",
        "native",
        "ops",
        "prefetch",
        "report",
        "scan",
        "walk",
    },
    "metrics": {"data", "errors", "scan"},
    "phantom": {"__init__", "data", "errors", "files", "scan"},
    "report": {"data", "errors", "files", "metrics", "scan"},
    "scan": {"errors", "files"},
}


def module_files(package):
    """{dotted name: file} of a package's folder."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(name, path, known):
    """Every module that a file imports, anywhere in it; 'from a import b' is a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                parents = package[: len(package) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(known)
            found.update(inner)
            if len(inner) < len(node.names):
                found.add(base)
    return found


def graph_of(package):
    """{module: the modules it imports} of a package."""
    files = module_files(package)
    return {name: imports_of(name, path, files) for name, path in files.items()}


def part_of(module):
    """'ichjax.scan.volume' -> 'data'; 'ichjax' -> '__init__'."""
    return [*module.split("."), "__init__"][1]


def upward_imports(graph):
    """(module, what it imports) for every import that the table does not allow."""
    wrong = []
    for name, imported in graph.items():
        part = part_of(name)
        for other in sorted(m for m in imported if m.split(".")[0] == name.split(".")[0]):
            if part_of(other) != part and part_of(other) not in MAY_IMPORT.get(part, set()):
                wrong.append((name, other))
    return wrong


def reaches(graph, start):
    """All modules that a module imports, directly or through others of the package."""
    seen, left = set(), [start]
    while left:
        for module in graph.get(left.pop(), ()):
            if module not in seen:
                seen.add(module)
                left.append(module)
    return seen


def device_side_of_data(graph):
    """(module of data/, the JAX library it reaches)."""
    of_data = [name for name in graph if part_of(name) in HOST_SIDE]
    return [(n, m) for n in of_data for m in sorted(reaches(graph, n)) if m.split(".")[0] in DEVICE_SIDE]


@pytest.fixture(scope="module")
def graph():
    return graph_of(ROOT / "ichjax")


def test_the_parts_are_known(graph):
    """A new part gets a line in the table above, so that its place in the house is a decision."""
    assert {part_of(name) for name in graph} <= set(MAY_IMPORT)
    assert {"ichjax.scan.volume", "ichjax.errors"} <= set(graph)


def test_imports_run_downward(graph):
    assert upward_imports(graph) == []


def test_no_import_runs_in_a_circle(graph):
    inner = {name: {m for m in imported if m in graph and m != name} for name, imported in graph.items()}
    list(graphlib.TopologicalSorter(inner).static_order())  # raises CycleError


def test_data_never_imports_jax(graph):
    assert device_side_of_data(graph) == []


QUIET = """
import importlib, logging, os, signal, sys, warnings
names = sys.argv[1].split()
for name in sys.argv[2].split():
    importlib.import_module(name)  # what libraries do themselves is theirs
def process():
    levels = {name: log.level for name, log in logging.root.manager.loggerDict.items() if hasattr(log, "level")}
    hooks = (sys.unraisablehook, sys.excepthook, sys.displayhook)
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    return levels, logging.root.level, hooks, signals, dict(os.environ), list(sys.path), list(warnings.filters)
before = process()
for name in names:
    importlib.import_module(name)
after = process()
changed = {name: level for name, level in after[0].items() if level != before[0].get(name, 0)}
assert not changed, changed
for one, other in zip(before[1:], after[1:]):
    assert one == other, (one, other)
"""


def test_importing_changes_nothing_in_the_process(graph):
    libraries = {name for imported in graph.values() for name in imported if name.split(".")[0] != "ichjax"}
    words = [" ".join(sorted(graph)), " ".join(sorted(libraries))]
    done = subprocess.run([sys.executable, "-c", QUIET, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_nothing_in_the_package_imports_the_launcher(graph):
    assert [name for name, imported in graph.items() if "launch" in imported] == []


def test_these_tests_can_fail(tmp_path):
    """The same functions on a small package with each fault."""
    package = tmp_path / "ichjax"
    sources = {
        "__init__.py": "",
        "data/__init__.py": "",
        "data/a.py": "import numpy\nfrom ichjax.data import b\n",
        "data/b.py": "def f():\n    from ..ops import c\n",
        "data/d.py": "from . import a\nfrom .a import x\n",
        "ops/__init__.py": "",
        "ops/c.py": "import jax.numpy as jnp\n",
    }
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = graph_of(package)
    assert graph["ichjax.data.d"] == {"ichjax.data.a"}
    assert upward_imports(graph) == [("ichjax.data.b", "ichjax.ops.c")]
    assert [name for name, _ in device_side_of_data(graph)] == ["ichjax.data.a", "ichjax.data.b", "ichjax.data.d"]
