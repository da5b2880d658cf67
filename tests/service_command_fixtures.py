"""The services' own operations, run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
from airflow.models.crypto import get_fernet
from airflow.providers_manager import ProvidersManager

from airflow_cancel_provider import cli
from airflow_cancel_provider.cli import reach
from airflow_cancel_provider.jobs import RemoteJob
from tests.cli_fixtures import Ended
from tests.service_fixtures import Bench
from tests.task_fixtures import SECRETS

NOWHERE = "http://127.0.0.1:9"
Run = Callable[..., Ended]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process."""
    # On a busy machine, nothing is said of an answer that is slow.
    monkeypatch.setattr(reach, "SILENT_SECONDS", 600.0)
    get_fernet()  # warns once that there is no key
    # Warns once of connection types that two providers have.
    ProvidersManager().initialize_providers_hooks()  # type: ignore[no-untyped-call]

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        # What Airflow logs goes to sys.stdout, which here is not the file that is kept for answers.
        with pytest.raises(SystemExit) as ended, redirect_stdout(sys.stderr):
            cli.main(arguments)
        told = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in told.err
        assert not any(secret in told.out + told.err for secret in SECRETS)
        return Ended(ended.value.code, told.out, told.err)

    return run


def ends(bench: Bench, job: RemoteJob) -> bool:
    """Whether the job has been cancelled, when time has passed."""
    bench.let_end()
    return bench.are_cancelled([job])
