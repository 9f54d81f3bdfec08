"""The house: imports go to a lower floor or stay in the package, and what reads data never imports JAX."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DEVICE_SIDE = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
HOST_SIDE = {"scan", "data", "dicom", "phantom", "metrics"}  # and `inference.discover`: never import JAX
ROOT_FILES = {"errors", "files", "hosts", "console", "prefetch", "xla", "walk", "config"}
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
    """{dotted name: file} of a package's folder."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(name, path, known, *, lazy=True):
    """Every module that a file imports; 'from a import b' is a.b where that is a module.

    lazy: whether imports inside functions count.
    """
    found, pending = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)
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


def graph_of(*packages, lazy=True):
    """{module: the modules it imports} of packages."""
    files = {name: path for package in packages for name, path in module_files(package).items()}
    return {name: imports_of(name, path, files, lazy=lazy) for name, path in files.items()}


def part_of(module):
    """'ichjax.scan.volume' -> 'scan'; 'ichjax' -> '__init__'; 'benchmarks.all' -> 'benchmarks'."""
    parts = [*module.split("."), "__init__"]
    return "benchmarks" if parts[0] == "benchmarks" else parts[1]


def is_allowed(part, other):
    """Whether a module of one part may import one of another."""
    if part == other:
        return True
    if part == "ops":
        return other == "errors"
    if part in ROOT_FILES:
        return other in ROOT_FILES
    return other in ROOT_FILES | {"__init__", "scan"} | MAY_IMPORT.get(part, set())


def forbidden_imports(graph):
    """(module, what it imports) for every import that the table does not allow."""
    return [
        (name, other)
        for name, imported in graph.items()
        for other in sorted(m for m in imported if m.split(".")[0] in ("ichjax", "benchmarks"))
        if not is_allowed(part_of(name), part_of(other))
    ]


def reaches(graph, start):
    """All modules that a module imports, directly or through others of the package."""
    seen, left = set(), [start]
    while left:
        for module in graph.get(left.pop(), ()):
            if module not in seen:
                seen.add(module)
                left.append(module)
    return seen


def is_host_side(module):
    return part_of(module) in HOST_SIDE or module == "ichjax.inference.discover"


def reaches_jax(graph):
    """(module that must not, the JAX library it reaches)."""
    host_side = [name for name in graph if is_host_side(name)]
    return [(n, m) for n in host_side for m in sorted(reaches(graph, n)) if m.split(".")[0] in DEVICE_SIDE]


@pytest.fixture(scope="module")
def graph():
    return graph_of(ROOT / "ichjax", ROOT / "benchmarks")


def test_every_package_has_its_floor(graph):
    """A new package gets a line in the table above, so that its place in the house is a decision."""
    assert {part_of(name) for name in graph} == set(MAY_IMPORT) | ROOT_FILES | {"__init__"}


def test_imports_go_down(graph):
    assert forbidden_imports(graph) == []


def test_no_import_is_circular(graph):
    inner = {name: {m for m in imported if m in graph and m != name} for name, imported in graph.items()}
    inner["ichjax"] = set()  # its own are looked up when they are used
    list(graphlib.TopologicalSorter(inner).static_order())  # raises CycleError


def test_imports_inside_functions_stand_where_they_have_a_reason(graph):
    at_the_top = graph_of(ROOT / "ichjax", lazy=False)
    lazy = {name for name, imported in at_the_top.items() if graph[name] - imported}
    assert {name for name in lazy if part_of(name) != "cli"} <= LAZY


def test_what_reads_data_never_imports_jax(graph):
    """Nor through others; `hosts` imports it inside functions, once somebody else has imported it."""
    without_hosts = {**graph, "ichjax.hosts": graph_of(ROOT / "ichjax", lazy=False)["ichjax.hosts"]}
    assert reaches_jax(without_hosts) == []
    names = sorted({name for name in graph if is_host_side(name)} - {"ichjax.data.loader"})  # grain imports JAX itself
    code = f"import sys, {', '.join(names)}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


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
    ours = [name for name in graph if name.split(".")[0] == "ichjax"]
    libraries = {other for name in ours for other in graph[name] if other.split(".")[0] != "ichjax"}
    words = [" ".join(sorted(ours)), " ".join(sorted(libraries))]
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
        "ops/c.py": "import jax.numpy as jnp\nfrom ichjax import errors, files\n",
        "errors.py": "",
        "files.py": "import ichjax.data.a\n",
    }
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = graph_of(package)
    assert graph["ichjax.data.d"] == {"ichjax.data.a"}
    assert forbidden_imports(graph) == [
        ("ichjax.data.b", "ichjax.ops.c"),
        ("ichjax.files", "ichjax.data.a"),
        ("ichjax.ops.c", "ichjax.files"),
    ]
    assert sorted({name for name, _ in reaches_jax(graph)}) == [f"ichjax.data.{name}" for name in "abd"]
    assert imports_of("ichjax.data.b", package / "data" / "b.py", graph, lazy=False) == set()
