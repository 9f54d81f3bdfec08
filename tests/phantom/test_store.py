"""Where a run's data come from: the folder it names, or a synthetic set that is made once."""

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
    """An empty cache, and the recipes that are made in it; a set is its tables only here."""
    recipes = []

    def write_dataset(root, **recipe):
        recipes.append(recipe)
        write.write_tables(root, [], [], footer="Synthetic data, no patients: ichjax phantoms, preset demo")

    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(phantoms, "write_dataset", write_dataset)
    return recipes


def test_a_named_root_is_used_as_it_is(made, tiny_root):
    assert store.dataset_root(str(tiny_root), **RECIPE) == tiny_root
    assert store.dataset_root("~/data", **RECIPE) == pathlib.Path.home() / "data"
    assert made == []


def test_a_recipe_is_made_once_and_said_once(made):
    lines = []
    places = [store.dataset_root("", **RECIPE, say=lines.append) for _ in range(2)]
    assert places[0] == places[1]
    assert made == [{**RECIPE, "layout": "nifti"}]
    assert len(lines) == 1
    assert "demo" in lines[0]
    assert store.is_synthetic(places[0])
    assert sorted(path.name for path in places[0].parent.iterdir()) == [places[0].name]


def test_another_recipe_or_another_phantom_is_another_set(made, monkeypatch):
    others = [{}, {"seed": 5}, {"subjects": 2}, {"preset": "calibrated"}, {"layout": "jpeg"}]
    places = [store.dataset_root("", **{**RECIPE, **other}, say=lambda line: None) for other in others]
    monkeypatch.setattr(store, "source_digest", lambda: "a newer phantom")
    places.append(store.dataset_root("", **RECIPE, say=lambda line: None))
    assert len(set(places)) == len(made) == 6


def test_the_key_covers_every_source_of_a_phantom(tmp_path):
    """One byte changed in any of them, in a copy of the package, gives another key."""
    package = tmp_path / "ichjax"
    shutil.copytree(store.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert store.source_digest(package) == store.source_digest()
    keys = {store.source_digest()}
    files = store.source_files(package)
    for path in files:
        old = path.read_bytes()
        path.write_bytes(old + b"#")
        keys.add(store.source_digest(package))
        path.write_bytes(old)
    assert len(keys) == len(files) + 1
    assert store.source_digest(package) == store.source_digest()


def test_the_sources_of_a_phantom_are_what_making_one_imports():
    """Whatever the writing module loads of this package, asked of Python itself in a fresh process."""
    code = (
        f"import sys, {phantoms.__name__}; print(*(m.__file__ for n, m in sys.modules.items() if n[:7] == 'ichjax.'))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    with_content = {path for path in map(pathlib.Path, loaded) if path.stat().st_size}
    assert with_content <= set(store.source_files())


def test_a_set_that_breaks_off_leaves_nothing(made, monkeypatch):
    def broken(root, **recipe):
        (root / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(phantoms, "write_dataset", broken)
    with pytest.raises(KeyboardInterrupt):
        store.dataset_root("", **RECIPE, say=lambda line: None)
    assert list((cache_folder() / "phantoms").iterdir()) == []


def test_a_real_data_set_is_not_synthetic(tiny_root, tmp_path):
    assert not store.is_synthetic(tiny_root)
    assert not store.is_synthetic(tmp_path)


@pytest.mark.parametrize("layout", ["nifti", "jpeg", "own"])
def test_the_phantoms_say_of_themselves_what_they_are(tmp_path, layout):
    phantoms.write_dataset(tmp_path, subjects=1, preset="demo", layout=layout, workers=1)
    assert store.is_synthetic(tmp_path)
