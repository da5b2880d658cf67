"""Verification of a service's certificate: its setting, and errors that no retry can mend."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from airflow_cancel_provider.exceptions import InvalidInput

_LONGEST_SHOWN = 100
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}
_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ConnectionError, TimeoutError)
"""Handshakes that broke off: the next one may succeed."""
_BROKEN_REASONS = frozenset(
    {
        "UNEXPECTED_EOF_WHILE_READING",
        "BAD_RECORD_MAC",
        "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
        "RECORD_LAYER_FAILURE",
    }
)
_UNUSABLE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_DEPTH = 20


def verification(value: object) -> bool | str | None:
    """What a ``verify`` setting means, also where a template or a connection made text of it.

    :return: True, False, the path of a CA bundle, or None for the default.
    :raises InvalidInput: the text is empty, or it is no text.
    """
    if value is None or isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        what = "empty" if isinstance(value, str) else repr(value)
        raise InvalidInput(f"verify is {what}; set True, False, or the path of a CA bundle.")
    return _WORDS.get(text.lower(), text)


def usable_verification(value: object) -> bool | str | None:
    """As :func:`verification`, where the connection is used: the CA bundle is there.

    :raises InvalidInput: it is not, or as :func:`verification`.
    """
    meant = verification(value)
    if isinstance(meant, str) and not _is_there(meant):
        shown = f"{meant[:_LONGEST_SHOWN]}…" if len(meant) > _LONGEST_SHOWN else meant
        raise InvalidInput(f"verify {shown!r} is neither true nor false nor the path of a CA bundle.")
    return meant


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # the certificate itself is too long for a name; or a folder may not be read
        return False


def tls_trouble(error: BaseException) -> str | None:
    """The message of OpenSSL for a TLS error that no retry can mend.

    None for other errors, and for handshakes that only broke off.
    """
    causes = list(_causes(error))
    if any(isinstance(cause, _BROKEN) or getattr(cause, "reason", "") in _BROKEN_REASONS for cause in causes):
        return None
    final = (cause for cause in causes if _is_final(cause))
    return next((f"{type(cause).__name__}: {cause}".rstrip(".") for cause in final), None)


def _is_final(cause: BaseException) -> bool:
    # urllib3 compares a host's name itself where OpenSSL does not; requests looks for the CA bundle itself.
    theirs = type(cause).__name__ == "CertificateError" or "TLS CA certificate bundle" in str(cause)
    return theirs or isinstance(cause, (ssl.SSLError, *_UNUSABLE_FILE))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what is behind it: as Python chains errors, and as libraries put one into another."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _DEPTH:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inside = [*cause.args, getattr(cause, "reason", None), *getattr(cause, "kwargs", {}).values()]
        inside.append(cause.__cause__)
        waiting += [part for part in inside if isinstance(part, BaseException)]
