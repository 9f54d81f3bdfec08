"""The library is made where it can be, and done without where it cannot."""

import contextlib
import logging
import stat

import jax
import pytest

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


def test_without_a_compiler_xla_serves_and_one_line_says_so(fresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(fresh))
    with caplog.at_level(logging.WARNING):
        assert not library.usable()
        assert not library.usable()
    assert [record.message for record in caplog.records] == [
        "the network runs at about half its speed: no C++ compiler; see README, 'On a CPU'"
    ]
    assert library.state() == "XLA"
    with pytest.raises(library.Unusable, match="no C\\+\\+ compiler"):
        library.load()


def test_a_compiler_that_fails_is_named(fresh, monkeypatch):
    compiler = fresh / "cxx"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "calls.cc: no such instruction" >&2\nexit 1\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(library.Unusable, match=r"cxx failed: calls\.cc: no such instruction"):
        library.load()
    assert not list((fresh / "native").iterdir())  # nothing half made


def test_a_library_that_others_could_have_written_is_not_loaded(fresh, monkeypatch):
    compiler = fresh / "cxx"  # makes an empty file
    compiler.write_text('#!/bin/sh\nfor last; do :; done\n[ "$1" = --version ] || : > "$last"\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(library.Unusable, match="file too short"):
        library.load()
    (made,) = (fresh / "native").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o722)
    library._load.cache_clear()
    with pytest.raises(library.Unusable, match="could have been written by somebody else"):
        library.load()


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
