"""moto's own server application, in this process: the base for every call that is not modelled here."""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import Any

from moto.batch.models import batch_backends
from moto.core.base_backend import BackendDict
from moto.emr.models import emr_backends
from moto.emrserverless.models import emrserverless_backends
from moto.glue.models import glue_backends
from moto.iam.models import get_account_id_from
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

EMR_SCOPE = re.compile(r"/([a-z0-9-]+)/elasticmapreduce/aws4_request")


class Moto:
    """Passes requests on to moto and opens the few objects of moto that the models here lean on."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)

    def answer(self, request: Request, body: bytes | None = None) -> Response:
        """Let moto answer the request, with another body if one is given."""
        data = request.get_data(cache=True) if body is None else body
        environ = {**request.environ, "wsgi.input": BytesIO(data), "CONTENT_LENGTH": str(len(data))}
        environ.pop("werkzeug.request", None)
        # moto's EMR takes the region from the host alone, and on loopback would take every one for us-east-1.
        scope = EMR_SCOPE.search(request.headers.get("Authorization", ""))
        if scope:
            environ["HTTP_HOST"] = f"elasticmapreduce.{scope[1]}.amazonaws.com"
        return Response.from_app(self._app, environ, buffered=True)

    def call(self, service: str, region: str, target: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a JSON 1.1 call of our own, as the default account."""
        scope = f"20260101/{region}/{service}/aws4_request"
        credential = f"AWS4-HMAC-SHA256 Credential=local/{scope}, Signature=0"
        headers = Headers({"X-Amz-Target": target, "Authorization": credential})
        builder = EnvironBuilder(
            method="POST", data=json.dumps(body), headers=headers, content_type="application/x-amz-json-1.1"
        )
        response = self.answer(Request(builder.get_environ()))
        if response.status_code != 200:
            raise RuntimeError(f"moto refused {target}: {response.get_data(as_text=True)}")
        reply: dict[str, Any] = json.loads(response.get_data())
        return reply

    @staticmethod
    def account(access_key: str) -> str:
        """The account an access key belongs to; moto's default account for keys it never issued."""
        return str(get_account_id_from(access_key))

    @classmethod
    def principal(cls, access_key: str) -> str:
        """The ARN that calls with this key: an assumed role if moto's STS issued it, else a user."""
        account = cls.account(access_key)
        role = sts_backends[account]["aws"].get_assumed_role_from_access_key(access_key)
        return str(role.arn) if role else f"arn:aws:iam::{account}:user/{access_key or 'anonymous'}"

    @staticmethod
    def cluster(account: str, region: str, cluster_id: str) -> Any:
        """moto's EMR cluster, None when there is none of that id."""
        return emr_backends[account][region].clusters.get(cluster_id)

    @staticmethod
    def nodes(account: str, region: str, job_definition: str) -> int:
        """How many nodes a registered Batch job definition asks for; 0 unless it is multi-node parallel."""
        found = batch_backends[account][region].get_job_definition(job_definition)
        return int((found.node_properties or {}).get("numNodes", 0)) if found else 0

    @staticmethod
    def has_definition(account: str, region: str, job_definition: str) -> bool:
        """Whether a Batch job definition was registered; a name, a name with its revision, or an ARN."""
        return batch_backends[account][region].get_job_definition(job_definition) is not None

    @staticmethod
    def queues(account: str, region: str) -> list[dict[str, Any]]:
        """Batch queues that were created."""
        return list(batch_backends[account][region].describe_job_queues())

    @staticmethod
    def application(account: str, region: str, application_id: str) -> Any:
        """moto's EMR Serverless application, None when there is none of that id."""
        return emrserverless_backends[account][region].applications.get(application_id)

    @staticmethod
    def glue_job(account: str, region: str, name: str) -> Any:
        """moto's Glue job, None when there is none of that name."""
        return glue_backends[account][region].jobs.get(name)

    @staticmethod
    def reset() -> None:
        """Forget everything moto holds in this process."""
        BackendDict.reset()
