"""Refuse what another web site makes a user's browser send, and keep the page out of other sites.

Airflow's login is a cookie with ``SameSite=Lax``: a browser does not send it with a request of another site,
but it does with one of another port or subdomain. So each request that does something must come from this
origin, and carry a token that only the page knows.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow_cancel_provider.plugin.bodies import Refusal

TOKEN_HEADER = "X-Remote-Jobs-Token"  # noqa: S105  the name of a header
TOKEN_SECONDS = 24 * 3600
_SALT = "airflow-cancel-provider page"

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Of each answer: it holds no scripts or styles of its own, and only Airflow's own pages may show it."""


def token_for(user: Any) -> str:
    """A token for this user, good for a day."""
    return str(_signer().dumps(str(user.get_id())))


def check_origin(headers: Any, user: Any) -> None:
    """Let through what the page itself has sent.

    :raises Refusal: it comes from another site, or without the token.
    """
    if not _is_of_this_origin(headers):
        raise Refusal(403, "This request comes from another web site. Use the page in Airflow itself.")
    if not _is_token_of(headers.get(TOKEN_HEADER, ""), user):
        raise Refusal(403, "The page is too old, or was opened by another user. Load it again.")


def _is_of_this_origin(headers: Any) -> bool:
    # Browsers send it over HTTPS and to this host itself; a proxy does not change it.
    if (site := headers.get("sec-fetch-site")) is not None:
        return bool(site == "same-origin")
    origin = urlsplit(headers.get("origin", "")).netloc
    return bool(origin) and origin in {headers.get("host"), _base_host()}


def _base_host() -> str:
    """Host and port at which users reach Airflow, where that is set."""
    from airflow.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").netloc


def _is_token_of(token: str, user: Any) -> bool:
    from itsdangerous import BadData

    try:
        owner = _signer().loads(token, max_age=TOKEN_SECONDS)
    except BadData:
        return False
    return bool(owner == str(user.get_id()))


def _signer() -> Any:
    from airflow.configuration import conf
    from itsdangerous import URLSafeTimedSerializer

    # The same in all API servers of an Airflow, as its documentation demands.
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt=_SALT)
