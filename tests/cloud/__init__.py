"""A local cloud for tests: Amazon EMR, AWS Batch, EMR Serverless and Huawei MRS over HTTP on loopback."""

from __future__ import annotations

from tests.cloud.server import LocalCloud

__all__ = ["LocalCloud"]
