"""What surrounds the package: documents that name code, the citation, the container's build context."""

import ast
import fnmatch
import pathlib
import re

import pytest
import yaml

import ichjax
from ichjax.methods import base
from tests import test_imports, test_wheel

ROOT = pathlib.Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows(text, columns):
    """The cells of a document's tables of so many columns, without heads and rules."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if len(line) == columns and not line[0].startswith(("-", "floor"))]


def test_the_table_of_floors_is_the_one_that_is_tested():
    listed = {name.strip("`"): set(re.findall(r"`(\w+)`", last)) for _, name, _, last in rows(ARCHITECTURE, 4)}
    assert set(listed) - {"launch.py", "root files"} == set(test_imports.MAY_IMPORT)
    for name in ("methods", "train", "report", "models", "phantom", "metrics", "data", "native", "dicom", "scan"):
        assert listed[name] == test_imports.MAY_IMPORT[name], name
    (text,) = (about for _, name, about, _ in rows(ARCHITECTURE, 4) if name == "root files")
    assert set(re.findall(r"`(\w+)`", text)) == test_imports.ROOT_FILES


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/install.md", "CONTRIBUTING.md"])
def test_files_that_a_document_names_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:ichjax|tests|configs|docs)/[\w/.]*)`", text))
    assert [path for path in sorted(named) if "NAME" not in path and not (ROOT / path).exists()] == []
    links = re.findall(r"\]\((?!http)([\w./]+)\)", text)
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


def defined(path):
    """The names that a module defines, those inside its classes included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_names_in_the_recipes_are_those_of_the_code():
    """Those that stand before their file, as `NAME` (`ichjax/file.py`) or `NAME` of `ichjax/file.py`."""
    pairs = re.findall(r"`(\w+)`s? \(?(?:of |in )?`((?:ichjax|tests)/[\w/]+\.py)`", ARCHITECTURE.replace("\n", " "))
    assert len(pairs) > 10
    assert [(name, path) for name, path in pairs if name not in defined(ROOT / path)] == []
    for path, names in {
        "ichjax/data/dataset.py": "MARKS LAYOUTS LAYOUT_TITLES read_dataset is_dataset load_scan files",
        "ichjax/cli/parser.py": "COMMANDS USAGE WITH_CONFIG WITHOUT_FILE make_parser",
    }.items():
        assert set(names.split()) - defined(ROOT / path) == set()
        assert all(f"`{name}`" in ARCHITECTURE for name in names.split())


def test_the_members_of_a_method_are_all_in_its_table():
    listed = {name for first, _ in rows(ARCHITECTURE, 2) if first != "member" for name in re.findall(r"`(\w+)", first)}
    public = {name for name in {*vars(base.Method), *base.Method.__annotations__} if not name.startswith("_")}
    assert listed == public - {"record"}  # made of the others


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ichjax.__version__
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert (paper["doi"], paper["year"], paper["volume"], paper["issue"]) == ("10.3390/data5010014", 2020, 5, 1)
    assert f"https://doi.org/{paper['doi']}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(author["family-names"] in readme for author in paper["authors"])


def test_the_container_gets_all_that_the_wheel_is_built_from():
    steps = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in steps if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert copied == {*test_wheel.FOLDERS, *test_wheel.FILES}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert let_through == copied
    assert all((ROOT / name).exists() for name in copied)
    assert not any(fnmatch.fnmatch(name, line) for name in copied for line in lines[1:] if not line.startswith("!"))
