"""Compiling, caching and loading the C++ library, and the fallback to XLA where that fails."""

import contextlib
import logging
import os
import pathlib
import re
import stat
import time

import jax
import pytest

from ichjax import config
from ichjax.models import unet
from ichjax.native import calls, library

pytestmark = pytest.mark.xdist_group("native")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a process that has not loaded the library, with its own cache folder and without CXX."""
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    for cached in (library._load_once, library._warn):
        cached.cache_clear()
    yield tmp_path
    for cached in (library._load_once, library._warn):
        cached.cache_clear()


def folder_of(cache):
    return cache / f"native-{os.getuid()}"


def test_without_a_compiler_xla_is_used_with_one_warning(fresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(fresh))
    with caplog.at_level(logging.WARNING):
        assert not library.is_available()
        assert not library.is_available()
    assert [record.message for record in caplog.records] == [
        "the network runs more slowly than it could: no C++ compiler; see README, 'On a CPU'"
    ]
    assert library.backend() == "XLA"
    with pytest.raises(library.UnavailableError, match="no C\\+\\+ compiler"):
        library.load()


def write_compiler(path, compiles):
    """Writes a shell script that prints a version for --version and otherwise runs `compiles`, a shell command in which
    "$last" is the last argument: the library to write."""
    path.write_text(
        '#!/bin/sh\nfor last; do\n  [ "$last" = --version ] && echo fake 1.0 && exit 0\ndone\n' + compiles + "\n"
    )
    path.chmod(0o700)
    return path


def test_a_compiler_that_fails_is_named(fresh, monkeypatch):
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", 'echo "calls.cc: no such instruction" >&2\nexit 1')))
    with pytest.raises(library.UnavailableError, match=r"cxx failed: calls\.cc: no such instruction"):
        library.load()
    assert not list(folder_of(fresh).iterdir())  # no partial output


@pytest.fixture
def compiler(fresh, monkeypatch):
    """A compiler that quickly makes an empty library; returns a function that counts its runs."""
    compiles = f'echo >> "{fresh / "times"}"\nexec cc -shared -o "$last" -x c /dev/null'
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", compiles)))
    return lambda: len((fresh / "times").read_text())


def problem_of_loading():
    library._load_once.cache_clear()
    with pytest.raises(library.UnavailableError) as caught:
        library.load()
    return str(caught.value)


def test_it_is_compiled_once_and_again_if_damaged_or_with_another_compiler(fresh, compiler, monkeypatch):
    assert "undefined symbol: ichjax_convolve" in problem_of_loading()  # an empty library was loaded
    (made,) = folder_of(fresh).iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    problem_of_loading()
    assert compiler() == 1
    other = fresh / "other"  # the loader would reuse its copy in memory for the same path
    monkeypatch.setenv("ICHJAX_CACHE", str(other))
    folder_of(other).mkdir(parents=True)
    (folder_of(other) / made.name).write_bytes(b"cut")
    assert "undefined symbol" in problem_of_loading()
    assert compiler() == 2
    monkeypatch.setenv("CXX", f"{fresh / 'cxx'} -mno-avx512f")
    problem_of_loading()
    assert compiler() == 3
    monkeypatch.delenv("CXX")  # no compiler, but a library cached by a similar machine
    monkeypatch.setenv("PATH", str(fresh))
    assert "undefined symbol" in problem_of_loading()


@pytest.mark.parametrize("writable", ["the file", "the folder", "a link"])
def test_a_library_that_another_user_could_have_written_is_not_loaded(fresh, compiler, writable):
    problem_of_loading()
    (made,) = folder_of(fresh).iterdir()
    if writable == "a link":
        made.rename(fresh / "elsewhere.so")
        made.symlink_to(fresh / "elsewhere.so")
    else:
        (made if writable == "the file" else folder_of(fresh)).chmod(0o722)
    assert "could have been written by another user" in problem_of_loading()


@pytest.mark.parametrize("words", ["g++ '-O2", "/no/such/compiler"])
def test_an_invalid_cxx_is_reported(fresh, monkeypatch, words):
    monkeypatch.setenv("CXX", words)
    assert re.search("No closing quotation|No such file", problem_of_loading())


def test_a_compiler_that_hangs_is_killed_with_its_children(fresh, monkeypatch):
    hangs = f'sleep 1000 &\necho $! > "{fresh / "child"}"\nwait'
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", hangs)))
    monkeypatch.setattr(library, "COMPILER_TIMEOUT_S", 1)
    assert "timed out after 1 seconds" in problem_of_loading()
    child = pathlib.Path("/proc") / (fresh / "child").read_text().strip()
    deadline = time.monotonic() + 10
    while child.exists() and "\tZ" not in (child / "status").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists() or "(zombie)" in (child / "status").read_text()


@pytest.mark.parametrize("named", ["by its path", "by a relative path", "through a relative PATH"])
def test_files_that_a_compiler_leaves_are_removed(fresh, monkeypatch, named):
    here, tools, ran_in = fresh / "here", fresh / "tools", fresh / "ran in"
    here.mkdir()
    tools.mkdir()
    compiler = tools / "cxx"  # writes to its last argument, even for --version
    compiler.write_text(f'#!/bin/sh\npwd -P >> "{ran_in}"\nfor last; do :; done\necho > "$last"\necho > a.out\n')
    compiler.chmod(0o700)
    monkeypatch.chdir(here)
    monkeypatch.setenv("ICHJAX_CACHE", "../cache")
    if named == "through a relative PATH":
        monkeypatch.setenv("PATH", os.pathsep.join(["../tools", os.environ["PATH"]]))
    monkeypatch.setenv("CXX", {"by its path": str(compiler), "by a relative path": "../tools/cxx"}.get(named, "cxx"))
    assert "file too short" in problem_of_loading()  # it ran to the end; its output is not a library
    assert not list(here.iterdir())
    folders = [pathlib.Path(line) for line in ran_in.read_text().splitlines()]
    assert len(folders) == 2  # one run for the version, one to compile
    assert not any(folder.exists() for folder in folders)
    assert [made.suffix for made in folder_of(fresh / "cache").iterdir()] == [".so"]


def test_the_layer_table_does_not_load_the_library(fresh, monkeypatch):
    monkeypatch.setattr(library, "load", lambda: pytest.fail("loaded"))
    assert unet.layer_table(config.default())[0]["name"] == "encoder1_conv1"


@pytest.mark.parametrize("case", ["switched off", "several devices", "a GPU", "XLA only"])
def test_it_is_not_loaded_where_it_cannot_be_used(fresh, monkeypatch, case):
    monkeypatch.setattr(library, "load", lambda: pytest.fail("loaded"))
    if case == "switched off":
        monkeypatch.setenv(library.SWITCH, "0")
    elif case == "several devices":
        monkeypatch.setattr(jax, "device_count", lambda: 2)
    elif case == "a GPU":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with library.xla_convolutions_only() if case == "XLA only" else contextlib.nullcontext():
        assert not library.is_available()


def test_it_is_used_again_after_the_context(fresh, monkeypatch):
    monkeypatch.setattr(library, "load", lambda: None)
    with library.xla_convolutions_only():
        pass
    assert library.is_available()


@pytest.mark.parametrize(
    ("map_shape", "kernel_shape", "dtype", "expected"),
    [
        ((4, 64, 64, 16), (3, 3, 16, 16), "float32", True),
        ((4, 64, 64, 16), (3, 3, 16, 16), "bfloat16", False),
        ((4, 64, 64, 16), (5, 5, 16, 16), "float32", False),  # wider than `MAX_KERNEL_SIDE`
        ((1, 8, 8, 256), (3, 3, 256, 256), "float32", False),  # many channels, few pixels: XLA's products are faster
        ((4, 64, 64, 2), (1, 1, 2, 1), "float32", False),
    ],
)
def test_it_is_used_only_where_it_is_faster(monkeypatch, map_shape, kernel_shape, dtype, expected):
    monkeypatch.setattr(library, "is_available", lambda: True)
    shapes = jax.ShapeDtypeStruct(map_shape, dtype), jax.ShapeDtypeStruct(kernel_shape, dtype)
    assert calls.should_use(*shapes) == expected
