"""The library is made where it can be, and done without where it cannot."""

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
    """As in a process that has not loaded it yet, with a cache folder of its own; CXX names no compiler."""
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    for cached in (library._load, library._warn):
        cached.cache_clear()
    yield tmp_path
    for cached in (library._load, library._warn):
        cached.cache_clear()


def folder_of(cache):
    return cache / f"native-{os.getuid()}"


def test_without_a_compiler_xla_serves_and_one_line_says_so(fresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(fresh))
    with caplog.at_level(logging.WARNING):
        assert not library.usable()
        assert not library.usable()
    assert [record.message for record in caplog.records] == [
        "the network runs more slowly than it could: no C++ compiler; see README, 'On a CPU'"
    ]
    assert library.state() == "XLA"
    with pytest.raises(library.Unusable, match="no C\\+\\+ compiler"):
        library.load()


def write_compiler(path, compiles):
    """Writes a shell script that prints a version where it is asked for one, whatever else it is told, and otherwise
    does what `compiles` says, a shell command to which "$last" is its last argument: the library to make."""
    path.write_text(
        '#!/bin/sh\nfor last; do\n  [ "$last" = --version ] && echo fake 1.0 && exit 0\ndone\n' + compiles + "\n"
    )
    path.chmod(0o700)
    return path


def test_a_compiler_that_fails_is_named(fresh, monkeypatch):
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", 'echo "calls.cc: no such instruction" >&2\nexit 1')))
    with pytest.raises(library.Unusable, match=r"cxx failed: calls\.cc: no such instruction"):
        library.load()
    assert not list(folder_of(fresh).iterdir())  # nothing half made


@pytest.fixture
def compiler(fresh, monkeypatch):
    """A compiler that makes a library with nothing in it, quickly, and how often it did."""
    compiles = f'echo >> "{fresh / "times"}"\nexec cc -shared -o "$last" -x c /dev/null'
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", compiles)))
    return lambda: len((fresh / "times").read_text())


def loaded_again():
    library._load.cache_clear()
    with pytest.raises(library.Unusable) as caught:
        library.load()
    return str(caught.value)


def test_it_is_compiled_once_and_anew_where_it_is_damaged_or_the_compiler_is_another(fresh, compiler, monkeypatch):
    assert "undefined symbol: ichjax_convolve" in loaded_again()  # there is nothing in it, but it was loaded
    (made,) = folder_of(fresh).iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    loaded_again()
    assert compiler() == 1
    other = fresh / "other"  # the loader gives what it holds in memory to whoever asks for the same path again
    monkeypatch.setenv("ICHJAX_CACHE", str(other))
    folder_of(other).mkdir(parents=True)
    (folder_of(other) / made.name).write_bytes(b"cut")
    assert "undefined symbol" in loaded_again()
    assert compiler() == 2
    monkeypatch.setenv("CXX", f"{fresh / 'cxx'} -mno-avx512f")
    loaded_again()
    assert compiler() == 3
    monkeypatch.delenv("CXX")  # no compiler here, but the cache folder holds what another machine like this one made
    monkeypatch.setenv("PATH", str(fresh))
    assert "undefined symbol" in loaded_again()


@pytest.mark.parametrize("who", ["the file", "the folder", "a link"])
def test_what_others_could_have_written_is_not_loaded(fresh, compiler, who):
    loaded_again()
    (made,) = folder_of(fresh).iterdir()
    if who == "a link":
        made.rename(fresh / "elsewhere.so")
        made.symlink_to(fresh / "elsewhere.so")
    else:
        (made if who == "the file" else folder_of(fresh)).chmod(0o722)
    assert "could have been written by somebody else" in loaded_again()


@pytest.mark.parametrize("words", ["g++ '-O2", "/no/such/compiler"])
def test_a_compiler_that_is_no_command_is_said_in_a_sentence(fresh, monkeypatch, words):
    monkeypatch.setenv("CXX", words)
    assert re.search("No closing quotation|No such file", loaded_again())


def test_a_compiler_that_hangs_is_ended_with_its_children(fresh, monkeypatch):
    hangs = f'sleep 1000 &\necho $! > "{fresh / "child"}"\nwait'
    monkeypatch.setenv("CXX", str(write_compiler(fresh / "cxx", hangs)))
    monkeypatch.setattr(library, "LONGEST_S", 1)
    assert "timed out after 1 seconds" in loaded_again()
    child = pathlib.Path("/proc") / (fresh / "child").read_text().strip()
    deadline = time.monotonic() + 10
    while child.exists() and "\tZ" not in (child / "status").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists() or "(zombie)" in (child / "status").read_text()


@pytest.mark.parametrize("named", ["by its path", "by a relative path", "through a relative PATH"])
def test_what_a_compiler_leaves_behind_is_not_left_with_the_user(fresh, monkeypatch, named):
    here, tools, ran_in = fresh / "here", fresh / "tools", fresh / "ran in"
    here.mkdir()
    tools.mkdir()
    compiler = tools / "cxx"  # asked for its version too, it takes its last argument for an output
    compiler.write_text(f'#!/bin/sh\npwd -P >> "{ran_in}"\nfor last; do :; done\necho > "$last"\necho > a.out\n')
    compiler.chmod(0o700)
    monkeypatch.chdir(here)
    monkeypatch.setenv("ICHJAX_CACHE", "../cache")
    if named == "through a relative PATH":
        monkeypatch.setenv("PATH", os.pathsep.join(["../tools", os.environ["PATH"]]))
    monkeypatch.setenv("CXX", {"by its path": str(compiler), "by a relative path": "../tools/cxx"}.get(named, "cxx"))
    assert "file too short" in loaded_again()  # it ran to its end: what it made is no library
    assert not list(here.iterdir())
    folders = [pathlib.Path(line) for line in ran_in.read_text().splitlines()]
    assert len(folders) == 2  # for its version, and to compile
    assert not any(folder.exists() for folder in folders)
    assert [made.suffix for made in folder_of(fresh / "cache").iterdir()] == [".so"]


def test_asking_for_shapes_compiles_nothing(fresh, monkeypatch):
    monkeypatch.setattr(library, "load", lambda: pytest.fail("loaded"))
    assert unet.layer_table(config.default())[0]["name"] == "encoder1_conv1"


@pytest.mark.parametrize("case", ["switched off", "several devices", "a GPU", "asked to"])
def test_it_is_left_alone_where_it_does_not_serve(fresh, monkeypatch, case):
    monkeypatch.setattr(library, "load", lambda: pytest.fail("loaded"))
    if case == "switched off":
        monkeypatch.setenv(library.SWITCH, "0")
    elif case == "several devices":
        monkeypatch.setattr(jax, "device_count", lambda: 2)
    elif case == "a GPU":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with library.by_xla() if case == "asked to" else contextlib.nullcontext():
        assert not library.usable()


def test_it_is_used_again_afterwards(fresh, monkeypatch):
    monkeypatch.setattr(library, "load", lambda: None)
    with library.by_xla():
        pass
    assert library.usable()


@pytest.mark.parametrize(
    ("map_shape", "kernel_shape", "dtype", "expected"),
    [
        ((4, 64, 64, 16), (3, 3, 16, 16), "float32", True),
        ((4, 64, 64, 16), (3, 3, 16, 16), "bfloat16", False),
        ((4, 64, 64, 16), (5, 5, 16, 16), "float32", False),  # wider than there are kernels for
        ((1, 8, 8, 256), (3, 3, 256, 256), "float32", False),  # many channels, few pixels: XLA's products are faster
        ((4, 64, 64, 2), (1, 1, 2, 1), "float32", False),
    ],
)
def test_it_is_asked_for_what_suits_it(monkeypatch, map_shape, kernel_shape, dtype, expected):
    monkeypatch.setattr(library, "usable", lambda: True)
    shapes = jax.ShapeDtypeStruct(map_shape, dtype), jax.ShapeDtypeStruct(kernel_shape, dtype)
    assert calls.suits(*shapes) == expected
