"""Where connections are found: environment, secrets backend, metadata database, supervisor; and where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from airflow_cancel_provider.hooks.connections import get_connection
from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
from airflow_cancel_provider.version_compat import AirflowNotFoundException
from tests.cloud.server import LocalCloud
from tests.connection_fixtures import CONN, IDS, aws, nowhere
from tests.dags.kinds import KINDS
from tests.reaper_fixtures import MemoryAirflow
from tests.service_fixtures import REGION, BatchBench
from tests.task_fixtures import SECRET, connect_aws, connections, context, make_database, operator, sensor

__all__ = ["connections", "nowhere"]

AWS_SERVICES = ("batch", "emr", "emr-serverless", "emr-containers", "glue")


@pytest.fixture
def stored() -> Iterator[Callable[..., None]]:
    """Store connections in the metadata database, as the UI does."""
    make_database()
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    names: list[str] = []

    def store(conn_id: str, *, raw_extra: str | None = None, **fields: Any) -> None:
        connection: Any = Connection(conn_id=conn_id, **fields)
        if raw_extra is not None:  # as an older Airflow stored it
            connection._extra, connection.is_extra_encrypted = raw_extra, False
        with create_session() as session:
            session.add(connection)
        names.append(conn_id)

    yield store
    with create_session() as session:
        for found in session.query(Connection).filter(Connection.conn_id.in_(names)):
            session.delete(found)


class FailingBackend:
    """A secrets backend that is away."""

    def get_connection(self, conn_id: str) -> None:
        raise ConnectionError(f"vault is sealed, asked for {conn_id}")


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put secrets backends before Airflow's own."""
    from airflow import configuration

    def put(*before: Any) -> None:
        own = configuration.initialize_secrets_backends()
        monkeypatch.setattr(configuration, "secrets_backend_list", [*before, *own])

    return put


class TestInAProgram:
    """A process without a supervisor: the command line, the API server, a program."""

    def test_the_database_has_it(self, nowhere: LocalCloud, stored: Callable[..., None]) -> None:
        stored(CONN, **aws(nowhere.url))
        service = Access().service("batch", CONN, REGION)
        job = BatchBench(nowhere).submit("job")[0]
        assert service.describe([service.address(job.id)])[0].state == "RUNNING"
        assert nowhere.journal.entries("batch")[-1].access_key == "DBKEY"

    def test_the_database_has_aws_default(self, nowhere: LocalCloud, stored: Callable[..., None]) -> None:
        stored("aws_default", **aws(nowhere.url))
        service = BatchJobsHook().service
        service.describe([service.address(IDS["batch"])])
        assert nowhere.journal.entries("batch")[-1].access_key == "DBKEY"
        assert service.conn_id == "aws_default"

    def test_a_secrets_backend_has_it(
        self, nowhere: LocalCloud, tmp_path: Path, backends: Callable[..., None]
    ) -> None:
        from airflow.secrets.local_filesystem import LocalFilesystemBackend

        file = tmp_path / "connections.json"
        file.write_text(json.dumps({CONN: aws(nowhere.url, "FILEKEY")}))
        backends(LocalFilesystemBackend(connections_file_path=str(file)))
        service = BatchJobsHook(CONN).service
        service.describe([service.address(IDS["batch"])])
        assert nowhere.journal.entries("batch")[-1].access_key == "FILEKEY"

    def test_the_environment_comes_before_the_database(
        self, nowhere: LocalCloud, monkeypatch: pytest.MonkeyPatch, stored: Callable[..., None]
    ) -> None:
        stored(CONN, **aws(nowhere.url))
        connect_aws(monkeypatch, nowhere, CONN, login="ENVKEY")
        assert get_connection(CONN).login == "ENVKEY"

    def test_a_backend_that_fails_does_not_hide_the_database(
        self, nowhere: LocalCloud, stored: Callable[..., None], backends: Callable[..., None]
    ) -> None:
        stored(CONN, **aws(nowhere.url))
        backends(FailingBackend())
        assert get_connection(CONN).login == "DBKEY"

    def test_defined_nowhere(self, nowhere: LocalCloud) -> None:
        with pytest.raises(AirflowNotFoundException, match=CONN):
            get_connection(CONN)

    @pytest.mark.parametrize("conn_id", [CONN, "aws_default"])
    def test_a_backend_that_fails_is_no_undefined_connection(
        self, nowhere: LocalCloud, backends: Callable[..., None], conn_id: str
    ) -> None:
        backends(FailingBackend())
        uses: list[Callable[[], Any]] = [
            lambda: BatchJobsHook(conn_id).service,
            lambda: Access().service("batch", conn_id, None),
        ]
        for use in uses:
            with pytest.raises(AirflowUnavailable, match=r"FailingBackend did not answer.*vault is sealed"):
                use()
        assert not nowhere.journal.entries("batch")

    @pytest.mark.parametrize("service", [*AWS_SERVICES, "mrs"])
    def test_a_database_that_is_away_is_no_undefined_connection(
        self, nowhere: LocalCloud, monkeypatch: pytest.MonkeyPatch, service: str
    ) -> None:
        from airflow.secrets.metastore import MetastoreBackend
        from sqlalchemy.exc import OperationalError

        def away(*_: Any, **__: Any) -> None:
            raise OperationalError("SELECT connection.password", {}, Exception("connection refused"))

        monkeypatch.setattr(MetastoreBackend, "get_connection", away)
        default = "mrs_default" if service == "mrs" else "aws_default"
        with pytest.raises(AirflowUnavailable, match=r"Airflow's database did not answer.*refused") as caught:
            Access().service(service, default, REGION)
        assert "SELECT" not in str(caught.value)
        task = operator(service, remote_jobs=None, **{KINDS[service].ids: [IDS[service].rpartition("/")[2]]})
        if KINDS[service].scope:
            setattr(task, KINDS[service].scope, IDS[service].partition("/")[0])
        with pytest.raises(AirflowUnavailable):
            task.execute(context())
        assert list(nowhere.journal) == []


class TestNotDefined:
    """A named connection that is not defined never becomes the process's own identity."""

    @pytest.mark.parametrize("conn_id", ["aws_default", CONN])
    @pytest.mark.parametrize("service", AWS_SERVICES)
    def test_in_an_address(self, nowhere: LocalCloud, service: str, conn_id: str) -> None:
        job = RemoteJob(f"{service}://{conn_id}@{REGION}/{IDS[service]}")
        with pytest.raises(InvalidInput, match=f"'{conn_id}' is not defined"):
            Access().pool().check([job])
        assert list(nowhere.journal) == []

    @pytest.mark.parametrize("conn_id", ["aws_default", CONN])
    @pytest.mark.parametrize("service", AWS_SERVICES)
    @pytest.mark.parametrize("make", [operator, sensor])
    def test_in_the_addresses_of_a_task(
        self, nowhere: LocalCloud, service: str, conn_id: str, make: Callable[..., Any]
    ) -> None:
        task = make(service, remote_jobs=[f"{service}://{conn_id}@{REGION}/{IDS[service]}"])
        with pytest.raises(InvalidInput, match=f"'{conn_id}' is not defined"):
            task.execute(context())
        assert list(nowhere.journal) == []

    @pytest.mark.parametrize("place", ["aws://aws_default", f"batch://{CONN}@{REGION}", "mrs://mrs_default"])
    def test_in_a_place_of_a_reaper(
        self, nowhere: LocalCloud, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        with pytest.raises(InvalidInput, match="is not defined"):
            make_reaper(MemoryAirflow(), at=[place]).sweep()
        assert list(nowhere.journal) == []

    @pytest.mark.usefixtures("nowhere")
    def test_mrs_has_no_identity_of_its_own(self) -> None:
        with pytest.raises(InvalidInput, match="MRS is reached over a connection only"):
            Access().service("mrs", None, None)
        with pytest.raises(InvalidInput, match="'mrs_default' is not defined"):
            _ = MrsHook().service


class TestOwnIdentity:
    """Without a connection, or with ``aws_default`` that is not defined, addresses have none."""

    @pytest.mark.parametrize("conn_id", ["aws_default", None, ""])
    def test_a_hook(self, nowhere: LocalCloud, conn_id: str | None) -> None:
        service = BatchJobsHook(conn_id, region_name=REGION).service
        assert service.address(IDS["batch"]) == f"batch://@{REGION}/{IDS['batch']}"
        service.describe([service.address(IDS["batch"])])
        assert {entry.access_key for entry in nowhere.journal} == {"testing"}

    @pytest.mark.parametrize("make", [operator, sensor])
    def test_a_task(self, nowhere: LocalCloud, make: Callable[..., Any]) -> None:
        bench = BatchBench(nowhere)
        bench.local.configure({"cancel": 0.1})
        job = bench.submit("running")[0]
        if make is sensor:
            bench.finish(job)
        task = make("batch", job_ids=[job.id], region_name=REGION)
        task.execute(context())
        assert task.jobs == [f"batch://@{REGION}/{job.id}"]
        polls = nowhere.journal.entries("batch", "DescribeJobs")
        assert {entry.access_key for entry in polls} == {"testing"}
        bench.close()

    def test_an_address_that_names_none(self, nowhere: LocalCloud) -> None:
        job = RemoteJob(f"batch://@{REGION}/{IDS['batch']}")
        Access().pool().describe([job])
        assert {entry.access_key for entry in nowhere.journal} == {"testing"}


class TestMalformed:
    """What is defined, and is no connection."""

    @pytest.mark.parametrize(
        "extra, words", [("no {JSON", "extra is not JSON"), ("[1]", "not a JSON object")]
    )
    @pytest.mark.parametrize(
        "conn_id, conn_type", [("aws_default", "aws"), ("mrs_default", "huaweicloud_mrs")]
    )
    @pytest.mark.parametrize("where", ["environment", "database", "backend"])
    def test_extra_that_is_not_json(
        self,
        nowhere: LocalCloud,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        stored: Callable[..., None],
        backends: Callable[..., None],
        extra: str,
        words: str,
        conn_id: str,
        conn_type: str,
        where: str,
    ) -> None:
        fields = {"conn_type": conn_type, "login": "x", "password": SECRET}
        if where == "environment":
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**fields, "extra": extra}))
        elif where == "database":
            stored(conn_id, raw_extra=extra, **fields)
        else:
            from airflow.secrets.local_filesystem import LocalFilesystemBackend

            file = tmp_path / "connections.json"
            file.write_text(json.dumps({conn_id: {**fields, "extra": extra}}))
            backends(LocalFilesystemBackend(connections_file_path=str(file)))
        service = "mrs" if conn_type != "aws" else "batch"
        uses: list[Callable[[], Any]] = [
            lambda: Access().service(service, conn_id, REGION),
            lambda: (
                KINDS[service]
                .cancel(
                    task_id="stop",
                    **{KINDS[service].ids: [IDS[service].rpartition("/")[2]]},
                    **({"cluster_id": "c"} if service == "mrs" else {}),
                )
                .execute(context())
            ),
        ]
        for use in uses:
            with pytest.raises(InvalidInput, match=f"{conn_id}.*{words}") as caught:
                use()
            assert extra not in str(caught.value)
        with pytest.raises(InvalidInput, match=words):
            rest_airflow(conn_id)
        assert list(nowhere.journal) == []

    def test_secrets_in_it_are_not_told(self, nowhere: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "aws", "port": SECRET}))
        with pytest.raises(InvalidInput, match="'odd' can't be read from the environment") as caught:
            BatchJobsHook("odd").check_connection()
        assert SECRET not in str(caught.value)
        assert list(nowhere.journal) == []
