"""The data set of a run: the folder in the configuration, or a synthetic set that is made once."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from ichjax.files import cache_folder
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import store, write

RECIPE = {"preset": "demo", "subjects": 1, "seed": 4}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Recipes of the sets made in an empty cache; here a set is only its tables."""
    recipes = []

    def write_dataset(root, **recipe):
        recipes.append(recipe)
        write.write_tables(root, [], [], footer="Synthetic data, no patients: ichjax phantoms, preset demo")

    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(phantoms, "write_dataset", write_dataset)
    return recipes


def test_a_root_is_used_as_given(made, tiny_root):
    assert store.dataset_root(str(tiny_root), **RECIPE) == tiny_root
    assert store.dataset_root("~/data", **RECIPE) == pathlib.Path.home() / "data"
    assert made == []


def test_a_set_is_made_and_reported_once(made):
    lines = []
    first, second = (store.dataset_root("", **RECIPE, say=lines.append) for _ in range(2))
    assert first == second
    assert made == [{**RECIPE, "layout": "nifti"}]
    assert len(lines) == 1
    assert "demo" in lines[0]
    assert store.is_synthetic(first)
    assert list(first.parent.iterdir()) == [first]


def test_another_recipe_or_other_sources_make_another_set(made, monkeypatch):
    others = [{}, {"seed": 5}, {"subjects": 2}, {"preset": "calibrated"}, {"layout": "jpeg"}]
    roots = [store.dataset_root("", **{**RECIPE, **other}, say=lambda line: None) for other in others]
    monkeypatch.setattr(store, "source_digest", lambda: "other sources")
    roots.append(store.dataset_root("", **RECIPE, say=lambda line: None))
    assert len(set(roots)) == len(made) == 6


def test_the_digest_covers_every_source_file(tmp_path, monkeypatch):
    """One more byte in any source file, in a copy of the package, changes the digest."""
    package = tmp_path / "ichjax"
    shutil.copytree(store.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert store.source_digest(package) == store.source_digest()
    digests = {store.source_digest()}
    files = store.source_files(package)
    monkeypatch.setattr(store, "source_files", lambda package: files)  # a comment changes no import
    for path in files:
        old = path.read_bytes()
        path.write_bytes(old + b"#")
        digests.add(store.source_digest(package))
        path.write_bytes(old)
    assert len(digests) == len(files) + 1
    assert store.source_digest(package) in digests


def test_the_source_files_include_every_module_that_python_loads():
    """Checked in a new process that imports the writing module."""
    code = (
        f"import sys, {phantoms.__name__}; print(*(m.__file__ for n, m in sys.modules.items() if n[:7] == 'ichjax.'))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    with_content = {path for path in map(pathlib.Path, loaded) if path.stat().st_size}
    assert with_content <= set(store.source_files())


def test_an_interrupted_set_leaves_nothing(made, monkeypatch):
    def interrupted(root, **recipe):
        (root / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(phantoms, "write_dataset", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.dataset_root("", **RECIPE, say=lambda line: None)
    assert list((cache_folder() / "phantoms").iterdir()) == []


def test_a_real_data_set_is_not_synthetic(tiny_root, tmp_path):
    assert not store.is_synthetic(tiny_root)
    assert not store.is_synthetic(tmp_path)


@pytest.mark.parametrize("layout", ["nifti", "jpeg", "own"])
def test_phantoms_are_recognized_as_synthetic(tmp_path, layout):
    phantoms.write_dataset(tmp_path, subjects=1, preset="demo", layout=layout, workers=1)
    assert store.is_synthetic(tmp_path)
