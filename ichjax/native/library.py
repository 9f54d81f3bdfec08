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
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import jax
import jaxlib

from ichjax.files import cache_folder

HERE = pathlib.Path(__file__).parent.absolute()  # compilers run in another folder
SOURCES = ("calls.cc", "convolve.h", "correlate.h", "maps.h")
CALLS = ("convolve", "of_input", "of_kernel", "up", "up_of_input", "up_of_kernel")
OPTIONS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=fast")
COMPILERS = ("c++", "g++", "clang++")
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
    """What is traced inside is XLA's alone: programs that leave this process, whose operations it is to count, or of
    which only shapes are asked."""
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
    """'C++' where the library is loaded in this process, else 'XLA'."""
    return "C++" if _load.cache_info().currsize and not _load() else "XLA"


@functools.cache
def _load() -> str:
    """Loads the library once; '' or what stands in the way."""
    try:
        library = _opened()
        for name in CALLS:
            call = jax.ffi.pycapsule(getattr(library, f"ichjax_{name}"))
            jax.ffi.register_ffi_target(f"ichjax_{name}", call, platform="cpu")
    except Exception as error:  # whatever it is, XLA serves
        return str(error) or type(error).__name__
    return ""


@functools.cache
def _warn(problem: str) -> None:
    logging.getLogger(__name__).warning(
        "the network runs more slowly than it could: %s; see README, 'On a CPU'", problem
    )


def _opened() -> ctypes.CDLL:
    """The library for these sources and this processor, compiled where there is none, and anew where it is damaged."""
    place = cache_folder() / f"native-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_others(place, stat.S_ISDIR)
    stem = _digest(*((HERE / name).read_bytes() for name in SOURCES), jaxlib.__version__.encode(), _processor())
    found = [[name] for name in COMPILERS if shutil.which(name)]
    compiler = shlex.split(os.environ.get("CXX", "")) or (found or [[]])[0]
    if not compiler:  # another machine with this cache folder may have had one
        made = sorted(place.glob(f"{stem}-*.so"))
        if not made:
            raise Unusable("no C++ compiler")
        return _open(made[-1])
    path = place / f"{stem}-{_digest(_run([*compiler, '--version']).encode(), repr((compiler, OPTIONS)).encode())}.so"
    if path.exists():
        with contextlib.suppress(OSError):
            return _open(path)
        path.unlink()
    if sys.stderr.isatty():
        print("compiling convolutions for this processor (once, about 20 s)", file=sys.stderr, flush=True)
    _compile(compiler, path)
    return _open(path)


def _open(path: pathlib.Path) -> ctypes.CDLL:
    _refuse_others(path, stat.S_ISREG)
    return ctypes.CDLL(str(path))


def _refuse_others(path: pathlib.Path, kind: Callable[[int], bool]) -> None:
    """Raises Unusable where somebody else could have put code there: it would run as ours."""
    found = path.lstat()
    if not kind(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Unusable(f"{path} could have been written by somebody else")


def _compile(compiler: list[str], path: pathlib.Path) -> None:
    """Makes the library aside and renames it."""
    arm = platform.machine() in ("arm64", "aarch64")  # where compilers have another word for it
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = pathlib.Path(folder) / path.name
        options = (
            "-mcpu=native" if arm else "-march=native",
            *OPTIONS,
            "-isystem",
            os.path.abspath(jax.ffi.include_dir()),
        )
        _run([*compiler, *options, str(HERE / SOURCES[0]), "-o", str(made)], timeout_s=LONGEST_S)
        made.chmod(0o700)
        made.replace(path)


def _run(command: list[str], *, timeout_s: float = 10) -> str:
    """Runs a compiler in an empty temporary folder, so that nothing it leaves there stays with the user.

    Args:
      command: the compiler, by name or by a path, and its arguments; other paths must be absolute.
      timeout_s: after which the compiler and its children are killed.

    Returns:
      What it prints to stdout.

    Raises:
      Unusable: it cannot be started, takes too long or fails; with the first line that mentions an error.
    """
    environ = {**os.environ, "LC_ALL": "C"}
    io = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            subprocess.Popen(
                _from_any_folder(command), **io, cwd=folder, env=environ, start_new_session=True
            ) as process,
        ):
            try:
                out, err = (text.decode(errors="replace") for text in process.communicate(timeout=timeout_s))
            except BaseException:  # a hanging compiler, or Ctrl-C: its children go with it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{command[0]}: {error}") from error
    if process.returncode:
        lines = err.strip().splitlines() or [f"exit status {process.returncode}"]
        raise Unusable(f"{command[0]} failed: {next((line for line in lines if 'error' in line), lines[0])}")
    return out


def _from_any_folder(command: list[str]) -> list[str]:
    """The command with a program that is named relative to this folder, itself or through PATH, by its full path."""
    program = shutil.which(command[0])
    return [os.path.abspath(program), *command[1:]] if program and not os.path.isabs(program) else command


def _digest(*parts: bytes) -> str:
    return hashlib.blake2b(b"|".join(parts), digest_size=8).hexdigest()


def _processor() -> bytes:
    """What tells processors apart whose instructions differ: a cache folder may be seen from several machines."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return repr(platform.uname()[4:]).encode() + platform.node().encode()
    told = ("flags", "features", "model name", "cpu part")
    return "\n".join(sorted({line for line in lines if line.lower().startswith(told)})).encode()
