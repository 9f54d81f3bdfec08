"""The wheel: built from the source distribution, installed into a fresh environment, used from an empty folder."""

import email
import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("ichjax", "configs")
EXTRAS = {name: f"requirements-{name}.txt" for name in ("dicom", "onnx")}
FILES = ("pyproject.toml", "setup.py", "requirements.txt", *EXTRAS.values(), "README.md", "LICENSE")
pytestmark = [pytest.mark.wheel, pytest.mark.xdist_group("wheel")]


def run(*command, cwd, **environ):
    """The standard output of a program that must succeed; it sees neither PYTHONPATH nor the tests' XLA_FLAGS."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(command, cwd=cwd, env=kept | environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def package_files(folder):
    """The files of a source folder, by their path inside it."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of the wheel; it is built from a copy, since setuptools writes into the folder that it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-c", "import setuptools.build_meta as b; b.build_sdist('..')", cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    # Without build isolation and dependencies nothing is downloaded.
    options = ("--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}")
    run(sys.executable, "-m", "pip", "wheel", *options, sdist, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """The installed console command.

    The wheel is installed without its dependencies, 600 MB of them: a .pth file lends those of the environment that
    runs the tests. The option --system-site-packages would not do, as it lends those of the Python that this
    environment was made from. What is installed here comes first, so the package is the wheel's.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ("--quiet", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", f"--python={python}", "install", *options, wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = [path for path in sys.path if pathlib.Path(path).name in ("site-packages", "dist-packages")]
    (site / "lent.pth").write_text("\n".join(lent))
    package = run(python, "-c", "import ichjax; print(ichjax.__file__)", cwd=folder).strip()
    assert pathlib.Path(package).resolve().is_relative_to(site.resolve())
    return folder / "bin" / "ichjax"


def test_the_wheel_holds_every_file_of_the_package_and_the_configurations(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == {
        *(f"ichjax/{name}" for name in package_files(ROOT / "ichjax")),
        *(f"ichjax/configs/{name}" for name in package_files(ROOT / "configs")),
    }
    assert "ichjax/py.typed" in inside
    assert {name.split("/", 1)[1] for name in names - inside} >= {"licenses/LICENSE", "entry_points.txt", "METADATA"}


def test_the_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    assert (about["Name"], about["License-Expression"]) == ("ichjax", "Apache-2.0")
    minors = [text.rsplit(".", 1)[1] for text in about.get_all("Classifier") if "Python :: 3." in text]
    assert minors == ["11", "12", "13"]
    assert about.get_all("Project-URL") == ["Paper, https://doi.org/10.3390/data5010014"]
    by_file = {"requirements.txt": "extra ==", **{file: f'extra == "{name}"' for name, file in EXTRAS.items()}}
    for name, marker in by_file.items():
        texts = [text for text in about.get_all("Requires-Dist") if (marker in text) == (name in EXTRAS.values())]
        found = {text.split(";")[0].strip() for text in texts}
        lines = (ROOT / name).read_text().splitlines()
        assert {Requirement(text) for text in found} == {
            Requirement(line) for line in lines if line and not line.startswith("#")
        }


def test_the_command_makes_trains_and_reports_from_an_empty_folder(command, tmp_path):
    environ = {"ICHJAX_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(command, "--help", cwd=empty, **environ).startswith("usage: ichjax COMMAND ")
    run(command, "phantom", "--output=set", "--subjects=6", cwd=empty, **environ)
    small = {
        "data.root": "set",
        "data.folds": 3,
        "folds": "(0,)",
        "compare_with": "()",
        "model.base_width": 2,
        "model.depth": 1,
        "model.blocks": (1, 1),
        "train.epochs": 1,
        "train.examples_per_epoch": 16,
    }
    fields = [f"--config.{name}={value}" for name, value in small.items()]
    run(command, "crossval", "--config=demo", "--workdir=run", *fields, cwd=empty, **environ)
    results = json.loads((empty / "run" / "results.json").read_text())
    assert (results["method"], len(results["subjects"])) == ("unet", 2)
    # Where there is a compiler, the C++ sources of the wheel were found and compiled.
    compiler = any(map(shutil.which, ("c++", "g++", "clang++"))) and os.environ.get("ICHJAX_NATIVE") != "0"
    assert ["C++" in device for device in results["devices"]] == [compiler]
    assert "<html" in (empty / "run" / "report.html").read_text()
    assert {path.name for path in empty.iterdir()} == {"set", "run"}
