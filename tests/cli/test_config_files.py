"""--config by name, by path, and from any folder."""

import pathlib
import re

import pytest

from ichjax.cli import config_files
from ichjax.errors import InputError

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def test_every_file_of_configs_has_a_name():
    shipped = config_files.shipped_configs()
    assert set(shipped.values()) == set(CONFIGS.rglob("*.py"))
    assert shipped["demo"] == CONFIGS / "demo.py"
    assert shipped["literature/all"] == CONFIGS / "literature" / "all.py"


@pytest.mark.parametrize("value", ["demo", "configs/demo.py", "./configs/demo.py", str(CONFIGS / "demo.py")])
def test_a_shipped_configuration_is_found_from_any_folder(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    assert config_files.find_config(value) == CONFIGS / "demo.py"


@pytest.mark.parametrize("value", ["literature/all", "configs/literature/all.py"])
def test_a_configuration_in_a_folder_of_configs_is_found_from_any_folder(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    assert config_files.find_config(value) == CONFIGS / "literature" / "all.py"


def test_a_file_of_ones_own_comes_before_a_shipped_one_but_not_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for own in ("configs/demo.py", "demo", "mine.py"):
        path = pathlib.Path(own)
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert config_files.find_config("configs/demo.py") == pathlib.Path("configs/demo.py")
    assert config_files.find_config("mine.py") == pathlib.Path("mine.py")
    assert config_files.find_config(str(tmp_path / "demo")) == tmp_path / "demo"
    assert config_files.find_config("demo") == CONFIGS / "demo.py"


def test_a_wheel_has_the_folder_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "ichjax" / "configs").mkdir(parents=True)
    (tmp_path / "configs").mkdir()  # somebody else's, next to the installed package
    for path in (tmp_path / "ichjax" / "configs" / "one.py", tmp_path / "configs" / "other.py"):
        path.write_text("")
    monkeypatch.setattr(config_files.ichjax, "__file__", str(tmp_path / "ichjax" / "__init__.py"))
    assert config_files.shipped_configs() == {"one": tmp_path / "ichjax" / "configs" / "one.py"}


@pytest.mark.parametrize(
    ("value", "near"), [("demoo", "demo"), ("configs/paper_patch.py", "paper_patches"), ("elsewhere/demo.py", "demo")]
)
def test_an_unknown_name_lists_those_there_are(tmp_path, monkeypatch, value, near):
    monkeypatch.chdir(tmp_path)
    top, nested = sorted(CONFIGS.glob("*.py")), sorted(CONFIGS.glob("*/*.py"))
    names = ", ".join(path.stem for path in top)
    names += f", or one of {len(nested)} in configs/literature, such as literature/{nested[0].stem}"
    said = f"{value}: no such configuration; did you mean {near}? expected a file, or one of {names}"
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        config_files.find_config(value)
    with pytest.raises(InputError, match=r"^xyz: no such configuration; expected a file, or one of demo"):
        config_files.find_config("xyz")
