"""Lists of patterns and places, as people give them."""

from __future__ import annotations

from collections.abc import Collection

from airflow_cancel_provider.exceptions import InvalidInput


def several(name: str, texts: Collection[str]) -> list[str]:
    """These texts, of which each is a pattern or a place.

    :raises InvalidInput: it is one text, whose letters would be taken for patterns: ``*`` among them is all.
    """
    if isinstance(texts, str):
        raise InvalidInput(f"{name} is {texts!r}; expected a list, as [{texts!r}].")
    return list(texts)
