"""One stage over several processes of this machine, through torchrun's launcher; one line where one of them fails."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ncfm.core.errors import StageError

PARENT = "NCFM_PARENT"  # tells the processes which one started them


def run_ranks(count: int, command: Sequence[str]) -> None:
    """Run ``ncfm COMMAND`` in ``count`` processes that know their ranks. Raises :class:`StageError` if one fails."""
    os.environ[PARENT] = str(os.getpid())
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # its report of a failure is 30 lines
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "ncfm.cli", *command)
    except SignalException as error:  # this process was asked to end, and has ended the others
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"signal {-failure.exitcode} ({signal.Signals(-failure.exitcode).name})" if failure.exitcode < 0 else ""
        how = how or f"exit status {failure.exitcode}; its reason stands above"
        raise StageError(
            f"{command[0]}: process {rank} of {count} (0 to {count - 1}) ended by {how}; the others were stopped; "
            "run the same command again to continue"
        ) from error


def end_with_parent() -> None:
    """Let the system kill this process as soon as the one that started it, which holds the lock, is gone (on Linux)."""
    parent = int(os.environ.get(PARENT, os.getppid()))  # the user's own torchrun does not set it
    with suppress(OSError, AttributeError):  # another system
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGKILL)  # it went before the system was asked
