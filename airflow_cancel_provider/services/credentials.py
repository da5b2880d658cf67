"""Credentials of botocore and aiobotocore, read from any thread. Imports neither."""

from __future__ import annotations

from copy import copy
from inspect import iscoroutinefunction
from typing import Any

ENDLESS = float("inf")


def is_renewable(credentials: Any) -> bool:
    """Whether these renew themselves, as those of a role's session do."""
    return hasattr(credentials, "refresh_needed")


def seconds_left(credentials: Any) -> float:
    """Seconds until these expire; 0 where they were never loaded, endless where they don't tell."""
    if getattr(credentials, "_expiry_time", None) is None:
        return 0.0 if is_renewable(credentials) and credentials.refresh_needed() else ENDLESS
    return float(credentials._seconds_remaining())  # noqa: SLF001  there is no public way


def keys_of(credentials: Any) -> dict[str, str | None]:
    """The keys, named as boto3's clients take them; renewed first if that is due.

    That takes a call, except in a running event loop: there it is left to the loop's own client.

    :raises Exception: what the identity service, or whoever else gives them out, has to say.
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
