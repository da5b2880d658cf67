"""Hosts of MRS and of the identity service by region. There is no rule for them, so here is a table.

Huawei Cloud, "Regions and Endpoints" (developer.huaweicloud.com/endpoint); OTC, "Regions and Endpoints".
"""

from __future__ import annotations

import re

_OTC = ("eu-de",)
"""Regions of the Open Telekom Cloud that have MRS."""
_HUAWEI = (
    "af-north-1",
    "af-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "cn-east-2",
    "cn-east-3",
    "cn-east-4",
    "cn-north-1",
    "cn-north-2",
    "cn-north-4",
    "cn-north-9",
    "cn-south-1",
    "cn-south-2",
    "cn-south-4",
    "cn-southwest-2",
    "la-north-2",
    "la-south-2",
    "me-east-1",
    "my-kualalumpur-1",
    "na-mexico-1",
    "ru-northwest-2",
    "sa-brazil-1",
    "tr-west-1",
)
_EUROPE = ("eu-west-101",)
_CN = ("ap-southeast-1", "ap-southeast-4", "ru-northwest-2")
"""Regions of Huawei Cloud whose MRS is at myhuaweicloud.cn."""

KNOWN = frozenset((*_OTC, *_HUAWEI, *_EUROPE))


def endpoints(region: str) -> tuple[str, str] | None:
    """URLs of MRS and of the identity service, or None for a region that is not in the table."""
    # A sub-project's name begins with its region's.
    region = re.split("_", region, maxsplit=1)[0]
    if region not in KNOWN:
        return None
    if region in _OTC:
        return f"https://mrs.{region}.otc.t-systems.com", f"https://iam.{region}.otc.t-systems.com"
    if region in _EUROPE:
        return f"https://mrs.{region}.myhuaweicloud.eu", f"https://iam.{region}.myhuaweicloud.eu"
    suffix = "cn" if region in _CN else "com"
    return f"https://mrs.{region}.myhuaweicloud.{suffix}", f"https://iam.{region}.myhuaweicloud.com"
