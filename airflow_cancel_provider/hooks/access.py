"""How to reach a service, as plain values, for operators, triggers and callbacks.

Importing this imports no hook, no boto3: a hook is loaded when a job of its service is acted on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from airflow_cancel_provider.services.registry import service_info

if TYPE_CHECKING:
    from airflow_cancel_provider.services.base import JobService
    from airflow_cancel_provider.services.pool import ServicePool


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach services, apart from connection and region, which are part of a job's address.

    :param verify: TLS verification: True, False, or the path of a CA bundle; None leaves it to the
        connection.
    :param botocore_config: arguments of ``botocore.config.Config``; None leaves it to the connection.
    :param options: the service's own options (``cancellation_option``, ``shutdown_grace_period`` …).
    :param only_over: connections for which ``verify`` and ``botocore_config`` are meant, empty text for the
        process's own identity; None: all.
    """

    verify: bool | str | None = None
    # A proxy's address may hold a password, and tracebacks show values.
    botocore_config: Mapping[str, Any] | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    only_over: Sequence[str] | None = None

    @classmethod
    def of_task(cls, task: Any) -> Self:
        """How jobs are reached that an operator has started: as its own hook does, over its connection.

        :param task: one with a connection of ours; any other leaves all to the connections, and so does what
            an operator of a user's own calls the same and is of another type, such as a method ``verify``.
        """
        given = {name: getattr(task, name) for name in ("aws_conn_id", "mrs_conn_id") if hasattr(task, name)}
        verify, config = getattr(task, "verify", None), getattr(task, "botocore_config", None)
        verify = verify if isinstance(verify, (bool, str)) and str(verify).strip() else None
        config = config if isinstance(config, Mapping) and config else None
        if not given or (verify is None and config is None):
            return cls()
        # For a connection of AWS that is not defined, the process's own identity stands in.
        own = [""] if "aws_conn_id" in given else []
        conn_id = str(next(iter(given.values())) or "").strip()
        return cls(verify, config, only_over=[conn_id, *own])

    def service(self, name: str, conn_id: str | None, region: str | None) -> JobService:
        """Open a service over the connection that an address or a place names.

        None is the process's own identity.

        :raises InvalidInput: there is no such service, or the connection is not defined or unusable.
        :raises AirflowUnavailable: Airflow did not say whether the connection is defined.
        """
        service: JobService = self._hook(name, conn_id, region).service
        return service

    def check_connections(self, places: Iterable[tuple[str, str | None, str | None]]) -> None:
        """Read the connections of some services and regions, before anything is sent to one of them.

        Raises as :meth:`service`.
        """
        for place in dict.fromkeys(places):
            self._hook(*place).check_connection()

    def _hook(self, name: str, conn_id: str | None, region: str | None) -> Any:
        is_meant = self.only_over is None or (conn_id or "") in self.only_over
        access = self if is_meant else Access(options=self.options)
        return service_info(name).hook_class.for_address(conn_id, region, access)

    def pool(self) -> ServicePool:
        """Every service this way, each opened when it is first needed."""
        # Imported here, as parsing a Dag file opens no service.
        from airflow_cancel_provider.services.pool import ServicePool

        return ServicePool(self.service)

    @property
    def holds_login(self) -> bool:
        """Whether the address of a proxy holds a login. Airflow stores a trigger's arguments."""
        config = self.botocore_config
        return "@" in str(config.get("proxies") if isinstance(config, Mapping) else config)

    def without_login(self) -> Self:
        """The same, without proxies whose addresses hold a login."""
        if not self.holds_login:
            return self
        config = self.botocore_config if isinstance(self.botocore_config, Mapping) else {}
        rest = {name: value for name, value in config.items() if name != "proxies"}
        return replace(self, botocore_config=rest or None)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a trigger."""
        return asdict(self)

    @property
    def key(self) -> str:
        """The same text for the same access. Holds no secrets."""
        return sha256(json.dumps(self.as_json(), sort_keys=True, default=repr).encode()).hexdigest()
