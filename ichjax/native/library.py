"""The C++ of this folder, compiled for this machine when it is first needed, and kept in the cache folder."""

import contextlib
import contextvars
import ctypes
import functools
import hashlib
import logging
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

import jax
import jaxlib

from ichjax.files import cache_folder

HERE = pathlib.Path(__file__).parent
SOURCES = ("calls.cc", "convolve.h", "correlate.h", "maps.h")
CALLS = ("convolve", "of_input", "of_kernel", "up", "up_of_input", "up_of_kernel")
OPTIONS = ("-O3", "-std=c++17", "-shared", "-fPIC")
LONGEST_S = 300  # that a compiler may take
SWITCH = "ICHJAX_NATIVE"  # 0 in the environment: not used
_lock = threading.Lock()
_left_alone = contextvars.ContextVar("left_alone", default=False)


class Unusable(Exception):
    """Why the library cannot be loaded here, in a few words."""


def usable() -> bool:
    """Whether `calls` serve in what is traced now; compiles the library if need be (10 to 20 s, once).

    They do on a single CPU device: XLA cannot divide among several what it did not compile itself.
    """
    if _left_alone.get() or os.environ.get(SWITCH) == "0" or jax.default_backend() != "cpu" or jax.device_count() > 1:
        return False
    try:
        load()
    except Unusable as error:
        _warn(str(error))
        return False
    return True


@contextlib.contextmanager
def by_xla() -> Iterator[None]:
    """What is traced inside is XLA's alone: for programs that leave this process, or whose operations it counts."""
    token = _left_alone.set(True)
    try:
        yield
    finally:
        _left_alone.reset(token)


def load() -> None:
    """Makes the calls known to XLA, whatever the devices.

    Raises:
      Unusable: no compiler, or what it made cannot be loaded.
    """
    with _lock:  # whoever comes while it is being compiled waits for it
        problem = _load()
    if problem:
        raise Unusable(problem)


def state() -> str:
    """What has convolved float32 maps in this process so far: 'C++' or 'XLA'."""
    return "C++" if _load.cache_info().currsize and not _load() else "XLA"


@functools.cache
def _load() -> str:
    """Loads the library once; '' or what stands in the way."""
    try:
        library = ctypes.CDLL(str(_compiled()))
        for name in CALLS:
            call = jax.ffi.pycapsule(getattr(library, f"ichjax_{name}"))
            jax.ffi.register_ffi_target(f"ichjax_{name}", call, platform="cpu")
    except (Unusable, OSError, AttributeError, jax.errors.JaxRuntimeError) as error:
        return str(error)
    return ""


@functools.cache
def _warn(problem: str) -> None:
    logging.getLogger(__name__).warning("the network runs at about half its speed: %s; see README, 'On a CPU'", problem)


def _compiled() -> pathlib.Path:
    """The library's file, made aside and renamed where there is none for these sources, compiler and processor."""
    compiler = shlex.split(os.environ.get("CXX", "")) or _found()
    sources = b"".join((HERE / name).read_bytes() for name in SOURCES)
    parts = (sources, _run([*compiler, "--version"]).encode(), jaxlib.__version__.encode(), _processor())
    place = cache_folder() / "native"
    path = place / f"{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        if sys.stderr.isatty():
            print("compiling convolutions for this processor (once, about 20 s)", file=sys.stderr, flush=True)
        _compile(compiler, path)
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o022:
        raise Unusable(f"{path} could have been written by somebody else")
    return path


def _found() -> list[str]:
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise Unusable("no C++ compiler")


def _compile(compiler: list[str], path: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = pathlib.Path(folder) / path.name
        include = ("-isystem", jax.ffi.include_dir())
        try:
            _run([*compiler, "-march=native", *OPTIONS, *include, str(HERE / SOURCES[0]), "-o", str(made)])
        except Unusable:  # some compilers for ARM have another word for it
            _run([*compiler, "-mcpu=native", *OPTIONS, *include, str(HERE / SOURCES[0]), "-o", str(made)])
        made.chmod(0o700)
        made.replace(path)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise Unusable(f"{command[0]} failed: {lines[0]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{command[0]}: {error}") from error
    return done.stdout


def _processor() -> bytes:
    """What tells processors apart whose instructions differ: a cache folder may be seen from several machines."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.version()}".encode()
    told = ("flags", "features", "model name", "cpu part")
    return "\n".join(sorted({line for line in lines if line.lower().startswith(told)})).encode()
