"""Programs that begin with their imports done: forks of one process, which imports Airflow once for all."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORKS = """
import json, os, sys
exec(sys.argv[1])
sys.stdout.flush()
ends = []
for number, (program, environment) in enumerate(json.load(sys.stdin)):
    if not (child := os.fork()):
        break
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    print(json.dumps(ends))
    sys.exit()
os.environ.update(environment)
for stream, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(f"{number}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), stream)
exec(program)
"""

COMMAND_LINE = """
import airflow.cli.cli_parser, airflow.providers.amazon.aws.hooks.base_aws, boto3
from airflow.models import import_all_models
import_all_models()
"""
"""What our command line imports, and Airflow once it makes a connection."""

Ended = subprocess.CompletedProcess[str]


def forked(
    imports: str,
    programs: Iterable[tuple[str, Mapping[str, str]]],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Run programs one after the other, each in a process of its own; how they have ended.

    :param imports: what all of them have imported when they begin.
    :param programs: each with what is in its environment besides.
    :param folder: where they run.
    """
    begun = [(program, dict(more)) for program, more in programs]
    done = subprocess.run(
        [sys.executable, "-c", FORKS, imports],
        input=json.dumps(begun),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**(os.environ if environment is None else environment), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return [
        Ended(program, code, (folder / f"{number}.out").read_text(), (folder / f"{number}.err").read_text())
        for number, ((program, _), code) in enumerate(
            zip(begun, json.loads(done.stdout.splitlines()[-1]), strict=True)
        )
    ]


SERVER = """
import json, os, signal, socket, sys
requests = socket.socket(fileno=int(sys.argv[1]))
exec(sys.argv[2])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has asked for them watches them
while True:
    request, streams, *_ = socket.recv_fds(requests, 1 << 20, 3)
    if not request:
        sys.exit()
    if not (child := os.fork()):
        break
    requests.send(str(child).encode())
    for stream in streams:
        os.close(stream)
requests.close()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
os.setsid()
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
program, arguments, environment = json.loads(request)
sys.argv[1:] = arguments
os.environ.clear()
os.environ.update(environment)
exec(program)
"""


@functools.cache
def _server(imports: str) -> socket.socket:
    """Where processes are asked for that have these imports done; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(theirs.fileno()), imports],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
        )
    return ours


class Fork:
    """A program in a session of its own, with pipes as its standard input and output.

    :param imports: what it has imported when it begins.
    :param merged: whether its standard error goes where its output goes.
    """

    def __init__(
        self,
        imports: str,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        merged: bool,
    ) -> None:
        (stdin, to_stdin), (from_stdout, stdout) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(to_stdin, "w"), os.fdopen(from_stdout)
        server = _server(imports)
        request = json.dumps([program, list(arguments), dict(environment)]).encode()
        socket.send_fds(server, [request], [stdin, stdout, stdout if merged else 2])
        for theirs in (stdin, stdout):
            os.close(theirs)
        self.pid = int(server.recv(100))
        self._watched = os.pidfd_open(self.pid)

    def poll(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, or does in so many seconds."""
        return bool(select.select([self._watched], [], [], seconds)[0])

    def kill(self) -> None:
        """Kill all of its session, as Airflow does, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self.poll(60)

    def close(self) -> None:
        """Kill it, and let go of it."""
        if not self.poll():
            self.kill()
        self.stdin.close()
        self.stdout.close()
        os.close(self._watched)
