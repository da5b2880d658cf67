"""What the sentinel is started with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from packaging.version import Version

from tests.airflow_versions import AIRFLOW

PROGRAM = """
import socket
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder
from airflow_cancel_provider.guard.sentinel import process

task_runner.SUPERVISOR_COMMS = CommsDecoder(socket=socket.socket(fileno=0))
print(process._supervisor())
"""
STAYS = 'exec 3<&0; "$@" <&3 & wait'
"""As sudo does: it stays as the parent of what it runs."""


@pytest.mark.skipif(Version("3.2") > AIRFLOW, reason="the channel is another")
@pytest.mark.parametrize("is_direct", [True, False])
def test_the_supervisor_is_found_also_behind_sudo(is_direct: bool) -> None:
    """Airflow runs a task with ``run_as_user`` so, with the supervisor's socket as standard input."""
    command = [sys.executable, "-c", PROGRAM]
    marked: dict[str, str] = {} if is_direct else {"_AIRFLOW__REEXECUTED_PROCESS": "1"}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            command if is_direct else ["/bin/sh", "-c", STAYS, "sudo", *command],
            stdin=theirs.fileno(),
            env={**os.environ, **marked},
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
    assert int(done.stdout.split()[-1]) == os.getpid()
