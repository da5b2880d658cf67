"""Hook for job executions of the MapReduce Service (MRS) of Huawei Cloud and the Open Telekom Cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks import connections, mrs_connection, mrs_form
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.mrs_connection import MrsConnectionFields
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.lookup import Lookup
from airflow_cancel_provider.services.mrs.projects import project_id
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.mrs.submission import SUBMISSIONS
from airflow_cancel_provider.services.mrs.submit import submit
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.submissions import recorded
from airflow_cancel_provider.settings import use_quotas
from airflow_cancel_provider.version_compat import AirflowNotFoundException, BaseHook, mask_secret

_SECRETS = [name for name, form in mrs_form.FIELDS.items() if form.is_secret]
"""Fields of ``extra`` that are masked in logs."""


class MrsHook(BaseHook):
    """Job executions over a ``huaweicloud_mrs`` connection.

    :param mrs_conn_id: Airflow connection.
    :param region_name: region; None leaves it to the connection. If set here, addresses name it.
    :param verify: TLS verification: True, False, or the path of a CA bundle; None leaves it to the
        connection.
    :param patience: how long calls are repeated.
    :param api_version: ``v2`` or ``v1.1``; None leaves it to the connection.
    """

    conn_name_attr = "mrs_conn_id"
    default_conn_name = "mrs_default"
    conn_type = mrs_form.CONN_TYPE
    hook_name = mrs_form.HOOK_NAME
    call_seconds: tuple[float, float] = (10.0, 60.0)
    """Seconds to connect, and between bytes of a reply: a kill alone may take 10 s."""

    def __init__(
        self,
        mrs_conn_id: str = default_conn_name,
        region_name: str | None = None,
        verify: bool | str | None = None,  # noqa: FBT001  as in every hook of the Amazon provider
        *,
        patience: Patience | None = None,
        api_version: str | None = None,
    ) -> None:
        super().__init__()
        self.mrs_conn_id = mrs_conn_id
        self.region_name = (connections.plain("region_name", region_name) or "").strip() or None
        self.verify = verify
        self.patience = patience or Patience()
        self.api_version = connections.plain("api_version", api_version)

    @classmethod
    def for_address(cls, conn_id: str | None, region: str | None, access: Access) -> Self:
        """A hook for that connection and region.

        :raises InvalidInput: no connection is named: a process has no credentials for MRS of its own.
        """
        if not conn_id:
            raise InvalidInput(
                "MRS is reached over a connection only: name one, as mrs://mrs_default/<cluster>/<job>."
            )
        return cls(conn_id, region, access.verify, **access.options)

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        """As :func:`connections.get_connection`."""
        return connections.get_connection(conn_id)

    def check_connection(self) -> None:
        """Read the connection, and check it; sends nothing.

        :raises InvalidInput: the connection is unknown, of another type, or lacks something.
        :raises AirflowUnavailable: Airflow did not say whether it is defined.
        """
        self._connection()

    @connections.unlocked
    def service(self) -> MrsJobService:
        """MRS over this connection.

        :raises InvalidInput: the connection is unknown, of another type, or lacks something.
        :raises ServiceError: the project could not be looked up by its name.
        """
        use_quotas()
        return MrsJobService(
            self.client, conn_id=self.mrs_conn_id, region=self.region_name, patience=self.patience
        )

    @connections.unlocked
    def client(self) -> MrsClient:
        """The calls of MRS, one by one. Raises as :attr:`service`."""
        return self._client(self.patience)

    def _client(self, patience: Patience) -> MrsClient:
        connection = self._connection()
        if unknown := connection.unknown:
            words = mrs_connection.passed_over(unknown)
            self.log.warning("%s", f"Connection {self.mrs_conn_id!r}: {words}.")
        auth = _auth(connection)
        project = connection.project_id or project_id(
            auth,
            str(connection.project_name),
            str(connection.iam_endpoint),
            verify=connection.verify,
            patience=patience,
        )
        if isinstance(auth, AkSkAuth):
            auth.project_id = project
        return MrsClient(
            connection.endpoint,
            project,
            auth,
            api_version=connection.api_version,
            verify=connection.verify,
            timeouts=self.call_seconds,
        )

    def get_conn(self) -> MrsClient:
        """The client."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """Count the clusters of the project: proves hosts, identity and project, and changes nothing.

        Each call is made once. Airflow tests a form under an id that it makes up; no error names it.
        """
        once = Patience(seconds=0)
        try:
            client = self._client(once)
            clusters = Lookup(client, once, None).call(once.started(), client.count_clusters)
        except CancelProviderError as error:
            words = str(error).removeprefix(f"Connection {self.mrs_conn_id!r}: ")
            return False, words[:1].upper() + words[1:]
        found = f"{clusters} cluster{'' if clusters == 1 else 's'}"
        return True, f"Signed in. Project {client.project_id} has {found} at {client.endpoint}."

    def submit_job(
        self,
        cluster_id: str,
        job_type: str,
        job_name: str,
        arguments: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
    ) -> RemoteJob:
        """Submit a job once, and return its address; if the answer is lost, the job is searched by name.

        :param job_type: MapReduce, SparkSubmit, SparkPython, HiveScript, HiveSql, DistCp, SparkScript,
            SparkSql or Flink.
        :param job_name: 1 to 64 letters, digits, underscores, hyphens; make it unique.
        :param arguments: of the program; the first is its path.
        :raises InvalidInput: a parameter is unusable.
        :raises ServiceUnavailable: it was not submitted, or that is not known; the message says which.
        :raises ServiceError: MRS refused it.

        OTC API reference, "Adding and Executing a Job" (mrs_02_0085).
        """
        cluster_id = self.service.place(cluster_id)
        with recorded(SUBMISSIONS[0], lambda: self.service.spec, cluster_id, job_name) as submission:
            lookup, name = self.service.lookup, submission.name
            job = submit(lookup, cluster_id, job_type, name, arguments, properties, submission.lost)
            submission.started(cluster_id, job)
        return self.service.address(job, cluster_id)

    def show_job(self, cluster_id: str, job_execution_id: str) -> JobStatus:
        """State of a job; GONE where MRS does not know it (mrs_02_0086)."""
        return self.service.describe([self.service.address(job_execution_id, cluster_id)])[0]

    def list_jobs(
        self, cluster_id: str, job_name: str | None = None, *, live_only: bool = False
    ) -> list[JobStatus]:
        """Jobs of a cluster, newest first (mrs_02_0087; 100 a call).

        :param job_name: only jobs of exactly this name, whatever label is behind it.
        :param live_only: only jobs that have not ended.
        """
        return list(self.service.listing(cluster_id, job_name, live_only=live_only))

    def kill_job(self, cluster_id: str, job_execution_id: str) -> CancelResult:
        """Request the cancel of a job, and return the outcome (mrs_02_0088; V1.1: mrs_02_0052)."""
        return self.cancel_job_executions(cluster_id, [job_execution_id])[0]

    def cancel_job_executions(self, cluster_id: str, job_execution_ids: Sequence[str]) -> list[CancelResult]:
        """As :meth:`kill_job`, for any number of jobs (one call each).

        :raises InvalidInput: an id is malformed.
        """
        return self.service.cancel(self.service.addresses(job_execution_ids, cluster_id), "")

    def cancel_sql_execution(self, cluster_id: str, sql_id: str) -> None:
        """Cancel a Presto query (Huawei Cloud, CancelSql; not on OTC). One that has ended is no error.

        :raises ServiceError: MRS could not cancel it.
        """
        query = self.service.address(sql_id, cluster_id)
        self.service.cancel_sql(str(query.scope), query.id)

    def _connection(self) -> MrsConnectionFields:
        try:
            connection = self.get_connection(self.mrs_conn_id)
        except AirflowNotFoundException:
            raise InvalidInput(
                f"Connection {self.mrs_conn_id!r} is not defined in Airflow. Define it with type "
                f"{self.conn_type!r}, or correct the name (mrs_conn_id, or the part of an address behind mrs://)."
            ) from None
        connections.check_type(self.mrs_conn_id, connection, self.conn_type, type(self).__name__)
        extra = connections.parse_extra(self.mrs_conn_id, connection.extra)
        for secret in (connection.password, *(extra.get(name) for name in _SECRETS)):
            if isinstance(secret, str) and secret:
                mask_secret(secret)
        mask_secret(extra)
        return mrs_connection.read(
            self.mrs_conn_id,
            connection.login,
            connection.password,
            extra,
            region=self.region_name,
            verify=self.verify,
            api_version=self.api_version,
        )

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Fields of the connection form in Airflow 3.0 and 3.1; later ones read the provider's info."""
        from flask_appbuilder.fieldwidgets import (
            BS3PasswordFieldWidget,
            BS3TextFieldWidget,
        )
        from wtforms import PasswordField, StringField
        from wtforms.validators import any_of

        def field(form: mrs_form.FormField) -> Any:
            if form.is_secret:
                return PasswordField(form.label, widget=BS3PasswordFieldWidget(), description=form.help)
            choices = list(form.choices)
            return StringField(
                form.label,
                widget=BS3TextFieldWidget(),
                description=form.help,
                validators=[any_of(choices)] if choices else [],
                default=choices[0] if choices else None,
            )

        return {name: field(form) for name, form in mrs_form.FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Standard fields of the connection form in Airflow 3.0 and 3.1."""
        return mrs_form.ui_field_behaviour()


def _auth(connection: MrsConnectionFields) -> AkSkAuth | TokenAuth:
    if connection.auth_type == "aksk":
        return AkSkAuth(
            connection.login,
            connection.password,
            security_token=connection.security_token,
            project_id=connection.project_id,
        )
    return TokenAuth(
        str(connection.iam_endpoint),
        connection.login,
        connection.password,
        connection.domain,
        project_id=connection.project_id,
        project_name=connection.project_name,
        verify=connection.verify,
    )
