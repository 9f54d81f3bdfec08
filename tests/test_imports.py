"""Layering: packages import only lower packages, host-side packages never import JAX, imports have no side effects."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

from tests.sources import write_sources

ROOT = pathlib.Path(__file__).parents[1]
DEVICE_SIDE = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
HOST_SIDE = {"scan", "data", "dicom", "phantom", "metrics"}  # and `inference.discover`: never import JAX
ROOT_FILES = {"errors", "files", "hosts", "console", "prefetch", "xla", "walk", "config", "config_check"}
ALL_BELOW = {"methods", "train", "report", "models", "phantom", "metrics", "data", "dicom", "ops"}
# {package: the packages that it may import}; all but `ops` may also import `scan` and the root files.
MAY_IMPORT = {
    "cli": {"inference", "experiment", *ALL_BELOW},
    "inference": {"experiment", *ALL_BELOW},
    "experiment": ALL_BELOW,
    "benchmarks": ALL_BELOW,
    "methods": {"train", "models", "ops", "metrics", "data"},
    "train": {"models", "ops", "data"},
    "report": {"metrics", "data"},
    "models": {"native", "ops"},
    "phantom": {"data"},
    "metrics": {"data"},
    "data": {"dicom"},
    "native": set(),
    "dicom": set(),
    "ops": set(),
    "scan": set(),
}
LAZY = {"ichjax", "ichjax.hosts", "ichjax.methods.registry"}  # and cli: may import inside functions


def module_files(package):
    """{dotted name: file} of the modules in a package's folder."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(name, path, known, *, lazy=True):
    """Every module that a file imports; 'from a import b' is a.b if that is a module.

    lazy: whether to include imports inside functions.
    """
    modules, pending = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                parents = package[: len(package) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(known)
            modules.update(inner)
            if len(inner) < len(node.names):
                modules.add(base)
    return modules


def graph_of(*packages, lazy=True):
    """{module: the modules that it imports} of all modules of the packages."""
    files = {name: path for package in packages for name, path in module_files(package).items()}
    return {name: imports_of(name, path, files, lazy=lazy) for name, path in files.items()}


def package_of(module):
    """'ichjax.scan.volume' -> 'scan'; 'ichjax' -> '__init__'; 'benchmarks.all' -> 'benchmarks'."""
    parts = [*module.split("."), "__init__"]
    return "benchmarks" if parts[0] == "benchmarks" else parts[1]


def is_allowed(package, other):
    """Whether a module of one package may import a module of the other."""
    if package == other:
        return True
    if package == "ops":
        return other == "errors"
    if package in ROOT_FILES:
        return other in ROOT_FILES
    return other in ROOT_FILES | {"__init__", "scan"} | MAY_IMPORT.get(package, set())


def forbidden_imports(graph):
    """(module, imported module) for every import that the table does not allow."""
    return [
        (name, other)
        for name, imported in graph.items()
        for other in sorted(m for m in imported if m.split(".")[0] in ("ichjax", "benchmarks"))
        if not is_allowed(package_of(name), package_of(other))
    ]


def reaches(graph, start):
    """All modules that a module imports, directly or indirectly."""
    reached, pending = set(), [start]
    while pending:
        new = graph.get(pending.pop(), set()) - reached
        reached |= new
        pending += new
    return reached


def is_host_side(module):
    return package_of(module) in HOST_SIDE or module == "ichjax.inference.discover"


def reaches_jax(graph):
    """(host-side module, JAX library that it imports directly or indirectly)."""
    host_side = [name for name in graph if is_host_side(name)]
    return [(n, m) for n in host_side for m in sorted(reaches(graph, n)) if m.split(".")[0] in DEVICE_SIDE]


@pytest.fixture(scope="module")
def graph():
    return graph_of(ROOT / "ichjax", ROOT / "benchmarks")


def test_every_package_is_in_the_table(graph):
    """A new package needs a line in the table above, so that its layer is decided deliberately."""
    assert {package_of(name) for name in graph} == set(MAY_IMPORT) | ROOT_FILES | {"__init__"}


def test_packages_import_only_lower_packages(graph):
    assert forbidden_imports(graph) == []


def test_only_one_module_imports_the_native_convolutions(graph):
    users = {name for name, imported in graph.items() if any(package_of(other) == "native" for other in imported)}
    assert {name for name in users if package_of(name) != "native"} == {"ichjax.models.convolution"}


def test_no_import_is_circular(graph):
    inner = {name: {m for m in imported if m in graph and m != name} for name, imported in graph.items()}
    inner["ichjax"] = set()  # its names are imported on first use
    list(graphlib.TopologicalSorter(inner).static_order())  # raises CycleError


def test_lazy_imports_are_only_in_the_listed_modules(graph):
    top_level = graph_of(ROOT / "ichjax", lazy=False)
    lazy = {name for name, imported in top_level.items() if graph[name] - imported}
    assert {name for name in lazy if package_of(name) != "cli"} <= LAZY


def test_host_side_modules_never_import_jax(graph):
    """Neither directly nor indirectly; `hosts` does so inside functions, after JAX has been imported elsewhere."""
    without_hosts = {**graph, "ichjax.hosts": graph_of(ROOT / "ichjax", lazy=False)["ichjax.hosts"]}
    assert reaches_jax(without_hosts) == []
    names = sorted({name for name in graph if is_host_side(name)} - {"ichjax.data.loader"})  # grain imports JAX itself
    code = f"import sys, {', '.join(names)}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


SIDE_EFFECTS = """
import importlib, logging, os, signal, sys, warnings
names = sys.argv[1].split()
for name in sys.argv[2].split():
    importlib.import_module(name)  # side effects of libraries are not ours
def state():
    levels = {name: log.level for name, log in logging.root.manager.loggerDict.items() if hasattr(log, "level")}
    hooks = (sys.unraisablehook, sys.excepthook, sys.displayhook)
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    return levels, logging.root.level, hooks, signals, dict(os.environ), list(sys.path), list(warnings.filters)
before = state()
for name in names:
    importlib.import_module(name)
after = state()
changed = {name: level for name, level in after[0].items() if level != before[0].get(name, 0)}
assert not changed, changed
for one, other in zip(before[1:], after[1:]):
    assert one == other, (one, other)
"""


def test_importing_has_no_side_effects(graph):
    ours = [name for name in graph if name.split(".")[0] == "ichjax"]
    libraries = {other for name in ours for other in graph[name] if other.split(".")[0] != "ichjax"}
    words = [" ".join(sorted(ours)), " ".join(sorted(libraries))]
    finished = subprocess.run([sys.executable, "-c", SIDE_EFFECTS, *words], capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr


def test_nothing_in_the_package_imports_the_launcher(graph):
    assert [name for name, imported in graph.items() if "launch" in imported] == []


def test_the_checks_detect_each_fault_in_a_small_package(tmp_path):
    package = tmp_path / "ichjax"
    sources = {
        "__init__.py": "",
        "data/__init__.py": "",
        "data/a.py": "import numpy\nfrom ichjax.data import b\n",
        "data/b.py": "def f():\n    from ..ops import c\n",
        "data/d.py": "from . import a\nfrom .a import x\n",
        "ops/__init__.py": "",
        "ops/c.py": "import jax.numpy as jnp\nfrom ichjax import errors, files\n",
        "errors.py": "",
        "files.py": "import ichjax.data.a\n",
    }
    write_sources(package, sources)
    graph = graph_of(package)
    assert graph["ichjax.data.d"] == {"ichjax.data.a"}
    assert forbidden_imports(graph) == [
        ("ichjax.data.b", "ichjax.ops.c"),
        ("ichjax.files", "ichjax.data.a"),
        ("ichjax.ops.c", "ichjax.files"),
    ]
    assert sorted({name for name, _ in reaches_jax(graph)}) == [f"ichjax.data.{name}" for name in "abd"]
    assert imports_of("ichjax.data.b", package / "data" / "b.py", graph, lazy=False) == set()
