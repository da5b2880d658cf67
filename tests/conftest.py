"""An Airflow and an AWS identity that exist only here, and the local cloud."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cloud.server import LocalCloud

# Before anything imports Airflow or boto3: nothing of the developer's own set-up may leak in. Each
# pytest-xdist worker reads this file too, and so has a home of its own.
for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "AWS_"))]:
    del os.environ[name]
AIRFLOW_HOME = tempfile.mkdtemp(prefix="airflow-cancel-")
os.environ.update(
    AIRFLOW_HOME=AIRFLOW_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    NO_PROXY="127.0.0.1,localhost",
    # The local cloud has no quotas unless a test sets some; this holds for processes that tests start, too.
    AIRFLOW__CANCEL_PROVIDER__QUOTAS="*=1000000/1000000",
)


RARE = ("emr-serverless", "emr-containers", "glue")
"""In whose rows a test marked ``wide`` is left to `make slow`, as in those that its mark names."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        row = item.name.partition("[")[2]
        if any(name in row for mark in item.iter_markers("wide") for name in (*RARE, *mark.args)):
            item.add_marker(pytest.mark.slow)


def pytest_configure() -> None:
    from airflow_cancel_provider.services.ratelimit import PACES

    PACES.configure({"*": (1e6, 1e6)})
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell starts what is to run behind it; the processes of tests would ignore Ctrl-C, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _read_models_once()
    inspect.stack = _stack


def _read_models_once() -> None:
    """Read botocore's models once for all sessions of this process: most of a client's making is that."""
    from botocore.loaders import JSONFileLoader, Loader

    read: Callable[[JSONFileLoader, str], Any] = JSONFileLoader.load_file
    known: dict[str, Any] = {}

    def load_file(self: JSONFileLoader, file_path: str) -> Any:
        if file_path not in known and (data := read(self, file_path)) is not None:
            known[file_path] = data
        return known.get(file_path)

    listed: Callable[[Loader, str], list[str]] = Loader.list_available_services
    names: dict[tuple[str, ...], list[str]] = {}

    def list_available_services(self: Loader, type_name: str) -> list[str]:
        key = (*self.search_paths, type_name)
        if key not in names:
            names[key] = listed(self, type_name)
        return list(names[key])

    JSONFileLoader.load_file = load_file  # type: ignore[method-assign]
    Loader.list_available_services = list_available_services  # type: ignore[method-assign]


def _stack(context: int = 1) -> list[inspect.FrameInfo]:  # noqa: ARG001  of its source it shows none
    """The stack without its sources: the Amazon provider looks twice for who makes a client."""
    found: list[inspect.FrameInfo] = []
    frame = inspect.currentframe()
    while frame is not None and (frame := frame.f_back) is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
    return found


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def cloud_server() -> Iterator[LocalCloud]:
    """One server for the whole session; tests use `cloud`."""
    from tests.cloud.server import LocalCloud

    with LocalCloud() as server:
        yield server


@pytest.fixture(autouse=True)
def _leaves_no_guard() -> Iterator[None]:
    """A guard that a test leaves behind would record, and cancel, what later tests submit."""
    yield
    if submissions := sys.modules.get("airflow_cancel_provider.services.submissions"):
        left = submissions.current_recorder()
        submissions.set_recorder(None)
        assert left is None, f"left behind: {left}"


@pytest.fixture
def cloud(cloud_server: LocalCloud) -> LocalCloud:
    """The local cloud, with no faults ordered and an empty journal, at an address of its own."""
    cloud_server.renew()
    return cloud_server
