"""SDK-HMAC-SHA256, the signature of Huawei Cloud and OTC for requests made with an access key.

Huawei Cloud, API Request Signing Guide, "Signing Algorithm" (api-sign-algorithm). A pure function, so that it
serves any HTTP client; replaceable where a gateway wants another form.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"


def signed_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: str,
    time: datetime,
) -> dict[str, str]:
    """Headers to send: all those given, ``Host``, ``X-Sdk-Date`` and the ``Authorization`` over them.

    :param headers: those to be signed; leave out what a proxy may change.
    :param time: when it is signed; a gateway refuses what is 15 minutes off its own clock.
    """
    stamp = time.astimezone(UTC).strftime(DATE_FORMAT)
    sent = {**headers, "Host": _host(url), "X-Sdk-Date": stamp}
    canonical, names = canonical_request(method, url, sent, body)
    text = f"{ALGORITHM}\n{stamp}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    sent["Authorization"] = f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"
    return sent


def canonical_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """The text whose hash is signed, and the names of the headers in it."""
    parts = urlsplit(url)
    values = {name.lower(): value.strip() for name, value in headers.items()}
    names = ";".join(sorted(values))
    lines = [
        method.upper(),
        _canonical_path(parts.path),
        _canonical_query(parts.query),
        "".join(f"{name}:{values[name]}\n" for name in sorted(values)),
        names,
        hashlib.sha256(body).hexdigest(),
    ]
    return "\n".join(lines), names


def _canonical_path(path: str) -> str:
    encoded = "/".join(_encode(unquote(segment)) for segment in path.split("/"))
    # Only the signed text ends in a slash; the request goes to the path as it is.
    return encoded if encoded.endswith("/") else encoded + "/"


def _canonical_query(query: str) -> str:
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{_encode(key)}={_encode(value)}" for key, value in pairs)


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
