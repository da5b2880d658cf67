"""A local cloud for tests: EMR, AWS Batch, EMR Serverless, EMR on EKS, Glue and Huawei MRS on loopback."""

from __future__ import annotations

from tests.cloud.server import LocalCloud

__all__ = ["LocalCloud"]
