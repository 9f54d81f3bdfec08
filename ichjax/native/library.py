"""Compiles the C++ convolutions on first use, caches the shared library, and registers it with XLA."""

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

from ichjax import xla
from ichjax.files import cache_folder

SOURCE_FOLDER = pathlib.Path(__file__).parent.absolute()  # the compiler runs in another folder
SOURCES = ("calls.cc", "convolve.h", "correlate.h", "maps.h")
CALLS = ("convolve", "input_gradient", "kernel_gradient", "up_convolve", "up_input_gradient", "up_kernel_gradient")
OPTIONS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=fast")
COMPILERS = ("c++", "g++", "clang++")
COMPILER_TIMEOUT_S = 300
SWITCH = "ICHJAX_NATIVE"  # environment variable; 0 disables the library
_lock = threading.Lock()
_xla_only = contextvars.ContextVar("xla_only", default=False)


class UnavailableError(Exception):
    """Why the library cannot be loaded, in a few words."""


def is_available() -> bool:
    """Whether `calls` may be used in the program being traced; compiles the library if necessary (10 to 20 s, once).

    Only on a single CPU device: XLA cannot partition FFI calls.
    """
    if xla_only() or os.environ.get(SWITCH) == "0" or xla.platform() != "cpu" or jax.device_count() > 1:
        return False
    try:
        load()
    except UnavailableError as error:
        _warn(str(error))
        return False
    return True


@contextlib.contextmanager
def xla_convolutions_only() -> Iterator[None]:
    """Programs traced inside use XLA's convolutions: to be exported, to have their operations counted, or for shapes
    alone."""
    token = _xla_only.set(True)
    try:
        yield
    finally:
        _xla_only.reset(token)


def xla_only() -> bool:
    """Whether the program being traced is inside `xla_convolutions_only`."""
    return _xla_only.get()


def load() -> None:
    """Registers the calls with XLA, whatever the devices.

    Raises:
      UnavailableError: there is no compiler, or the compiled library cannot be loaded.
    """
    with _lock:  # other threads wait for the compiler
        problem = _load_once()
    if problem:
        raise UnavailableError(problem)


def backend() -> str:
    """'C++' if this process has loaded the library, else 'XLA'."""
    return "C++" if _load_once.cache_info().currsize and not _load_once() else "XLA"


@functools.cache
def _load_once() -> str:
    """Loads the library; returns '' or the problem."""
    try:
        library = _compile_or_open()
        for name in CALLS:
            call = jax.ffi.pycapsule(getattr(library, f"ichjax_{name}"))
            jax.ffi.register_ffi_target(f"ichjax_{name}", call, platform="cpu")
    except Exception as error:  # fall back to XLA whatever the error
        return str(error) or type(error).__name__
    return ""


@functools.cache
def _warn(problem: str) -> None:
    logging.getLogger(__name__).warning(
        "the network runs more slowly than it could: %s; see README, 'On a CPU'", problem
    )


def _compile_or_open() -> ctypes.CDLL:
    """The cached library for these sources and this processor; compiled if it is missing or damaged."""
    folder = cache_folder() / f"native-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_private(folder, stat.S_ISDIR)
    sources = [(SOURCE_FOLDER / name).read_bytes() for name in SOURCES]
    stem = _digest(*sources, jaxlib.__version__.encode(), _cpu_features())
    installed = [name for name in COMPILERS if shutil.which(name)]
    compiler = shlex.split(os.environ.get("CXX", "")) or installed[:1]
    if not compiler:  # another machine that shares this cache folder may have compiled it
        libraries = sorted(folder.glob(f"{stem}-*.so"))
        if not libraries:
            raise UnavailableError("no C++ compiler")
        return _open(libraries[-1])
    path = folder / f"{stem}-{_digest(_run([*compiler, '--version']).encode(), repr((compiler, OPTIONS)).encode())}.so"
    if path.exists():
        with contextlib.suppress(OSError):
            return _open(path)
        path.unlink()
    if sys.stderr.isatty():
        print("compiling convolutions for this processor (once, about 20 s)", file=sys.stderr, flush=True)
    _compile(compiler, path)
    return _open(path)


def _open(path: pathlib.Path) -> ctypes.CDLL:
    _require_private(path, stat.S_ISREG)
    return ctypes.CDLL(str(path))


def _require_private(path: pathlib.Path, is_kind: Callable[[int], bool]) -> None:
    """Raises UnavailableError if another user could have put code there, since it would run as this user."""
    status = path.lstat()
    if not is_kind(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise UnavailableError(f"{path} could have been written by another user")


def _compile(compiler: list[str], path: pathlib.Path) -> None:
    """Compiles to a temporary file and renames it."""
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    include = ("-isystem", os.path.abspath(jax.ffi.include_dir()))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        output = pathlib.Path(folder) / path.name
        command = [*compiler, native, *OPTIONS, *include, str(SOURCE_FOLDER / SOURCES[0]), "-o", str(output)]
        _run(command, timeout_s=COMPILER_TIMEOUT_S)
        output.chmod(0o700)
        output.replace(path)


def _run(command: list[str], *, timeout_s: float = 10) -> str:
    """Runs a compiler in an empty temporary folder, so that it leaves no files with the user.

    Args:
      command: the compiler, by name or path, and its arguments; other paths must be absolute.
      timeout_s: the compiler and its children are killed after this time.

    Returns:
      Its stdout.

    Raises:
      UnavailableError: it cannot be started, takes too long or fails; with the first line that mentions an error.
    """
    try:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            subprocess.Popen(
                _absolute_program(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            ) as process,
        ):
            try:
                out, err = (text.decode(errors="replace") for text in process.communicate(timeout=timeout_s))
            except BaseException:  # a hanging compiler, or Ctrl-C: kill its children too
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from error
    if process.returncode:
        lines = err.strip().splitlines() or [f"exit status {process.returncode}"]
        raise UnavailableError(f"{command[0]} failed: {next((line for line in lines if 'error' in line), lines[0])}")
    return out


def _absolute_program(command: list[str]) -> list[str]:
    """The command with its program by absolute path, where its name or PATH is relative to the current folder."""
    program = shutil.which(command[0])
    return [os.path.abspath(program), *command[1:]] if program and not os.path.isabs(program) else command


def _digest(*parts: bytes) -> str:
    return hashlib.blake2b(b"|".join(parts), digest_size=8).hexdigest()


def _cpu_features() -> bytes:
    """Identifies the processor's instruction set, since several machines may share a cache folder."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return repr(platform.uname()[4:]).encode() + platform.node().encode()
    fields = ("flags", "features", "model name", "cpu part")
    return "\n".join(sorted({line for line in lines if line.lower().startswith(fields)})).encode()
