"""Several processes, on one host or on many: their number, who is first, barriers, and shares of the work.

`jax.distributed` connects them. All of them see the same work directory.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from ichjax.errors import InputError, first_line


def start(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Connects the processes, before the first device is touched.

    Does nothing where there is only one process, or where they are connected already.

    Args:
      coordinator: 'HOST:PORT' of process 0. None: SLURM, Open MPI or a TPU slice tells JAX about the processes.
      processes: how many there are.
      process: which one this is, from 0.

    Raises:
      InputError: only some of the three are given, they contradict each other, or the others do not answer.
    """
    named = (coordinator, processes, process)
    if None in named and any(value is not None for value in named):
        raise InputError("--coordinator, --processes and --process belong together; expected all three or none")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise InputError(f"--process is {process} of {processes} --processes; expected 0 to {processes - 1}")
    if coordinator is None and not launched_together(os.environ):
        return
    import jax  # lazy: what needs no device does without JAX

    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the processes cannot be connected ({first_line(error)}); expected all of them to start"
        ) from error


def _rank_and_count() -> tuple[int, int]:
    """(this process, how many there are), from `jax.distributed` once it is started, by whomever.

    `jax.process_index()` and `jax.process_count()` would start the devices, after which nothing can be connected.
    """
    if "jax" not in sys.modules:  # lazy: then nobody has connected anything
        return 0, 1
    import jax

    if not jax.distributed.is_initialized():
        return 0, 1
    from jax._src import distributed  # the public module has no question that leaves the devices alone

    return distributed.global_state.process_id, distributed.global_state.num_processes


def launched_together(environment: Mapping[str, str]) -> bool:
    """Whether SLURM's srun, Open MPI's mpirun or a TPU slice has started several processes like this one."""
    tasks = (environment.get("SLURM_STEP_NUM_TASKS", "1"), environment.get("OMPI_COMM_WORLD_SIZE", "1"))
    return any(count.isdigit() and int(count) > 1 for count in tasks) or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )


def is_first() -> bool:
    """Whether this is the process that writes files and prints for all of them."""
    return number() == 0


def count() -> int:
    """How many processes there are."""
    return _rank_and_count()[1]


def number() -> int:
    """Index of this process, from 0."""
    return _rank_and_count()[0]


def share(items: Sequence) -> Sequence:
    """This process's items: every `count()`-th one."""
    return items[number() :: count()]


def wait(what: str) -> None:
    """Waits until every process has reached this call; `what` is the same in all."""
    if count() > 1:
        from jax.experimental import multihost_utils  # lazy, as above

        multihost_utils.sync_global_devices(what)


@contextlib.contextmanager
def first_before_others(what: str) -> Iterator[None]:
    """The first process runs the body before the others, which then find what it made."""
    if not is_first():
        wait(what)
    yield
    if is_first():
        wait(what)


def any_of(flag: bool) -> bool:
    """Whether `flag` is set in any process; all of them call this together."""
    if count() == 1:
        return flag
    import numpy as np
    from jax.experimental import multihost_utils  # lazy, as above

    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def mean(values: Sequence[float]) -> Sequence[float]:
    """The mean over all processes of each value; all of them call this together, with as many values."""
    if count() == 1 or not values:
        return values
    import numpy as np
    from jax.experimental import multihost_utils  # lazy, as above

    return multihost_utils.process_allgather(np.array(values, np.float32)).mean(axis=0).tolist()
