"""Checks SDK-HMAC-SHA256 signatures: written from the vendor's guide, sharing nothing with the package."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from urllib.parse import unquote_plus

from werkzeug.wrappers import Request

SKEW = 15 * 60
_AUTHORIZATION = re.compile(
    r"SDK-HMAC-SHA256 Access=(?P<access>[^,]+), SignedHeaders=(?P<names>[a-z0-9;-]+),"
    r" Signature=(?P<hex>[0-9a-f]{64})"
)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


class BadSignature(Exception):
    """Why a signature is refused, in the gateway's manner."""


def access_key(request: Request) -> str | None:
    """Who signed the request, None when nobody did."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    return found["access"] if found else None


def check(request: Request, secret_key: str) -> None:
    """Refuse a request whose signature, or whose time, is wrong."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if found is None:
        raise BadSignature("authorization header format is incorrect")
    names = found["names"].split(";")
    if names != sorted(names) or not {"host", "x-sdk-date"} <= set(names):
        raise BadSignature("signedHeaders must be sorted and hold host and x-sdk-date")
    stamp = request.headers["X-Sdk-Date"]
    if abs(time.time() - timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))) > SKEW:
        raise BadSignature("signature expired")
    digest = hashlib.sha256(_canonical(request, names).encode()).hexdigest()
    text = f"SDK-HMAC-SHA256\n{stamp}\n{digest}".encode()
    expected = hmac.new(secret_key.encode(), text, "sha256").hexdigest()
    if not hmac.compare_digest(expected, found["hex"]):
        raise BadSignature("verify aksk signature fail")


def _canonical(request: Request, names: list[str]) -> str:
    path, _, query = str(request.environ["REQUEST_URI"]).partition("?")
    segments = [_escape(unquote_plus(part.replace("+", "%2B"))) for part in path.split("/")]
    uri = "/".join(segments)
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    ordered = sorted((unquote_plus(key), unquote_plus(value)) for key, _, value in pairs)
    body = request.get_data(cache=True)
    return (
        f"{request.method}\n"
        f"{uri if uri.endswith('/') else uri + '/'}\n"
        f"{'&'.join(_escape(key) + '=' + _escape(value) for key, value in ordered)}\n"
        + "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
        + f"\n{';'.join(names)}\n"
        + hashlib.sha256(body).hexdigest()
    )


def _escape(text: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())
