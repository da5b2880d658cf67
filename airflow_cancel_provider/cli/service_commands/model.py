"""The operations of a service, from its model: botocore's, or for a service that botocore lacks, ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.exceptions import DataNotFoundError
from botocore.session import Session

from airflow_cancel_provider.cli.service_commands.options import Parameter, parameters_of
from airflow_cancel_provider.services.registry import ServiceInfo

MODELS = Path(__file__).parent / "models"
"""Models in botocore's format: ``<service>/<version>/service-2.json``."""


@dataclass(frozen=True)
class Operation:
    """One operation of a service.

    :param model: its ``OperationModel``.
    :param paginator: how its pages follow each other; None where it has none.
    """

    model: Any
    paginator: Mapping[str, Any] | None

    @property
    def command(self) -> str:
        """Its name on the command line: ``CancelSteps`` is ``cancel-steps``."""
        return str(xform_name(self.model.name, "-"))

    @property
    def method(self) -> str:
        """Its name on a client."""
        return str(xform_name(self.model.name))

    @property
    def parameters(self) -> list[Parameter]:
        """Its parameters."""
        return list(parameters_of(self.model.input_shape))

    @property
    def page_members(self) -> set[str]:
        """The parameters that choose a page: :class:`botocore.paginate.Paginator` sets them."""
        if self.paginator is None:
            return set()
        tokens = self.paginator["input_token"]
        limit = self.paginator.get("limit_key")
        return {*([tokens] if isinstance(tokens, str) else tokens), *([limit] if limit else [])}


def service_model(info: ServiceInfo) -> tuple[Any, dict[str, Operation]]:
    """The model of a service, and its operations that are commands, by the names of these.

    An operation that this botocore does not know yet is left out.
    """
    session = Session()
    session.set_config_variable("data_path", str(MODELS))
    model = session.get_service_model(info.name)
    paginators = _paginators(session, info.name)
    known = [name for name in info.operations if name in model.operation_names]
    operations = [Operation(model.operation_model(name), paginators.get(name)) for name in known]
    return model, {operation.command: operation for operation in operations}


def _paginators(session: Session, service: str) -> dict[str, Mapping[str, Any]]:
    try:
        loaded = session.get_component("data_loader").load_service_model(service, "paginators-1")
    except DataNotFoundError:
        return {}
    found: dict[str, Mapping[str, Any]] = loaded["pagination"]
    return found
