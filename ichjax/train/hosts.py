"""Several processes, on one host or on many: who is first, who waits for whom, and who does which share.

JAX's own runtime connects them. All of them see the same work directory.
"""

import contextlib
import os
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from ichjax.errors import InputError

_place = (0, 1)  # this process and how many there are; asking JAX itself would start its devices


def start(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Connects the processes, before the first device is touched; does nothing where there is only one.

    Args:
      coordinator: 'HOST:PORT' of process 0. None: what SLURM, Open MPI or a TPU slice says of the processes is used.
      processes: how many there are.
      process: which one this is, from 0.

    Raises:
      InputError: only some of the three are given, they make no sense, or the others do not answer.
    """
    global _place
    named = (coordinator, processes, process)
    if None in named and any(value is not None for value in named):
        raise InputError("--coordinator, --processes and --process belong together; expected all three or none")
    if coordinator is not None and not 0 <= process < processes:
        raise InputError(f"--process is {process} of {processes} --processes; expected 0 to {processes - 1}")
    if coordinator is None and not launched_together(os.environ):
        return
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"the processes cannot be connected ({reason}); expected all of them to start") from error
    _place = (jax.process_index(), jax.process_count())


def launched_together(environment) -> bool:
    """Whether SLURM's srun, Open MPI's mpirun or a TPU slice has started several processes like this one."""
    tasks = (environment.get("SLURM_STEP_NUM_TASKS", "1"), environment.get("OMPI_COMM_WORLD_SIZE", "1"))
    return any(count.isdigit() and int(count) > 1 for count in tasks) or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    return _place[0] == 0


def count() -> int:
    """How many processes there are."""
    return _place[1]


def number() -> int:
    """Which one this is, from 0."""
    return _place[0]


def share(items: Sequence) -> Sequence:
    """Every count-th of the items: those that this process works on."""
    return items[_place[0] :: _place[1]]


def wait(what: str) -> None:
    """Waits until every process has come here; `what` is the same in all."""
    if count() > 1:
        multihost_utils.sync_global_devices(what)


@contextlib.contextmanager
def first_before_others(what: str):
    """What the first process makes, the others find: they enter when it has left."""
    if not is_first():
        wait(what)
    yield
    if is_first():
        wait(what)


def any_of(flag: bool) -> bool:
    """Whether it is so in any process; all of them ask together."""
    if count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))
