"""The command line in this process, over an Airflow in memory and the local cloud."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest

from airflow_cancel_provider import cli
from airflow_cancel_provider.cli import cancel, command
from airflow_cancel_provider.reaper.factory import make_reaper
from tests.reaper_fixtures import Ground

JSON = ("-o", "json")
NAME = "blue"
TYPO = "emr://aws_default@us-east-1/j-TYPO/s-3BYY"
NOWHERE = "batch://aws_default@us-east-1/00000000-0000-0000-0000-000000000000"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def states(self) -> dict[str, str]:
        """States by address; what became of the request where the service refused it."""
        return {row["job"]: "REFUSED" if row["outcome"] == "REFUSED" else row["state"] for row in self.json}


@dataclass
class Line:
    """The command line over an Airflow in memory."""

    ground: Ground
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Ended:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert isinstance(ended.value.code, int)
        told = self.capture.readouterr()
        assert "Traceback" not in told.err
        # What Airflow logs to `sys.stdout` is caught with it here; a process of its own is tested below.
        out = told.out.strip().rpartition("\n")[2] if "json" in arguments else told.out
        return Ended(ended.value.code, out, told.err)


@pytest.fixture
def deployment(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", NAME)
    return make_reaper(ground.airflow, at=["aws://aws_default"]).deployment


@pytest.fixture
def line(
    ground: Ground,
    deployment: str,  # noqa: ARG001  it is set
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Line:
    monkeypatch.setattr(command, "Database", lambda **_: ground.airflow)
    monkeypatch.setattr(cancel, "POLL_SECONDS", 0.05)
    return Line(ground, capfd)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def once(happened: Callable[[], object], do: Callable[[], None] = press_ctrl_c) -> Iterator[None]:
    """Do something as soon as something else has happened."""

    def watch() -> None:
        until = time.monotonic() + 60
        while not happened():
            if time.monotonic() > until:
                return
            time.sleep(0.01)
        do()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join()
