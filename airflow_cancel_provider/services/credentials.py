"""Credentials of botocore and aiobotocore, read from any thread. Imports neither."""

from __future__ import annotations

import re
from base64 import b32decode
from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, TypeVar

ENDLESS = float("inf")
E = TypeVar("E", bound=BaseException)
_ADDRESS = re.compile(r"\b((?:https?|ftp|socks\w*)://)([^\s\"'<>]*)", re.I)
"""Not of a job, which has its connection where others have a login."""
_BARE_LOGIN = re.compile(r"(?<![^\s/@\"'<>])[^\s/@:\"'<>]*:[^\s/@\"'<>]+@")
"""In an address without a scheme. Looked for at the beginning of a word only: whole pages are searched."""
_UNREAD = re.compile(r"Failed to parse: .*", re.S)
_NO_HEADER = re.compile(r"Invalid header value .*", re.S)
"""Of a token that ends in a line break, as one that was read from a file may do."""
_ACCESS_KEY = re.compile(r"A[KS]IA[A-Z2-7]{16}", re.ASCII)


NO_KEY = "holds a space, a line break or another character that no key has"
_KEY = re.compile(r"[!-~]+", re.ASCII)


def is_key(value: object) -> bool:
    """Whether this may be a key, a token or an id that goes into a header: people copy line breaks along."""
    return isinstance(value, str) and bool(_KEY.fullmatch(value))


def is_renewable(credentials: Any) -> bool:
    """Whether these renew themselves, as those of a role's session do."""
    return hasattr(credentials, "refresh_needed")


def seconds_left(credentials: Any) -> float:
    """Seconds until these expire; 0 where they were never loaded, endless where they don't tell."""
    if getattr(credentials, "_expiry_time", None) is None:
        return 0.0 if is_renewable(credentials) and credentials.refresh_needed() else ENDLESS
    return float(credentials._seconds_remaining())  # noqa: SLF001  there is no public way


def secrets_in(credentials: Any) -> tuple[str, ...]:
    """Secret key and session token of these, where they were loaded; makes no call."""
    known = getattr(credentials, "__dict__", {})
    values = (known.get(name) for name in ("_secret_key", "secret_key", "_token", "token"))
    return tuple(value for value in values if isinstance(value, str))


def without_logins(words: str) -> str:
    """Words of a library on a call that failed, without the logins, queries and fragments in its addresses.

    A proxy's address may hold a password, and that of an endpoint a key in its query. A password with ``/``,
    ``?`` or ``#`` takes the address apart, and urllib3 then repeats a part that may be the password.
    """
    words = _NO_HEADER.sub("A key or token holds a line break", _ADDRESS.sub(_bare, words))
    return _UNREAD.sub("Failed to parse an address", _BARE_LOGIN.sub("***@", words))


def _bare(address: re.Match[str]) -> str:
    scheme, rest = address.groups()
    _, at, place = rest.rpartition("@")
    return scheme + ("***@" if at else "") + re.sub(r"([?#]).*", r"\1***", place)


def caused_by(cause: Exception, error: E, secrets: Iterable[str] = ()) -> E:
    """The error with its cause, which a traceback shows; without it where its words hold a secret."""
    words = str(cause)
    error.__cause__ = cause if without(secrets, without_logins(words)) == words else None
    error.__suppress_context__ = True
    return error


def without(secrets: Iterable[str], words: str) -> str:
    """Words of others that may repeat what they were sent, without the secrets among it."""
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    return words


def account_of(credentials: Any) -> str | None:
    """The account of these, or their access key where that does not tell it; makes no call.

    None where there are none, or where they were never loaded.
    """
    known = getattr(credentials, "__dict__", {})
    account = known.get("_account_id") or known.get("account_id")
    key = known.get("_access_key") or known.get("access_key")
    return account or (_account_in(key) if isinstance(key, str) else None)


@lru_cache(maxsize=256)
def _account_in(access_key: str) -> str:
    """The account that an access key holds since 2019: 40 bits, behind its first letters and one set bit."""
    if not _ACCESS_KEY.fullmatch(access_key):
        return access_key
    bits = int.from_bytes(b32decode(access_key[4:20])[:6], "big")
    account = (bits & ((1 << 47) - 1)) >> 7
    return f"{account:012d}" if bits >> 47 and account < 10**12 else access_key


def keys_of(credentials: Any) -> dict[str, str | None]:
    """The keys, named as boto3's clients take them; renewed first if that is due.

    That takes a call, except in a running event loop: there it is left to the loop's own client.

    :raises Exception: any error of the credential provider.
    """
    read = getattr(credentials, "get_frozen_credentials", None)
    keys = credentials
    if iscoroutinefunction(read):
        keys = _keys_of_async(credentials) if is_renewable(credentials) else credentials
    elif read is not None:
        keys = read()
    return {
        "aws_access_key_id": getattr(keys, "access_key", None),
        "aws_secret_access_key": getattr(keys, "secret_key", None),
        "aws_session_token": getattr(keys, "token", None),
    }


def _keys_of_async(credentials: Any) -> Any:
    """Keys of aiobotocore's; renewed in a copy: their lock belongs to a loop that may be busy, or over."""
    if not credentials.refresh_needed() or _is_in_a_loop():
        return credentials._frozen_credentials  # noqa: SLF001  outside of a loop there is no public way
    own = copy(credentials)
    import asyncio

    own._refresh_lock = asyncio.Lock()  # noqa: SLF001
    return asyncio.run(own.get_frozen_credentials())


def _is_in_a_loop() -> bool:
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
