"""What is thrown at the package: any JSON, and true values with something wrong about them."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from tests.model.world import owner

TIMES = int(os.environ.get("FUZZ", "1"))
HTML = "<!DOCTYPE html><html><body>Please sign in.</body></html>"


def examples(count: int) -> settings:
    """So many examples in ``make test``."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    # Writes nothing: tests run beside each other.
    return settings(
        max_examples=max(5, count * TIMES // 3), deadline=None, suppress_health_check=slow, database=None
    )


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", HTML, "\0", "a" * 10_000, "\ud800", "../../etc/passwd", "😀", 10**400, nested(50)]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
ANY_JSON = st.recursive(
    ODD,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """A value with up to three things wrong in it, somewhere: other types, missing or doubled members."""
    for _ in range(draw(st.integers(0, 3))):
        value = _spoil(draw, value)
    return value


def _spoil(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value:
        return _spoilt_object(draw, value)
    if isinstance(value, list) and value:
        return _spoilt_list(draw, value)
    return draw(ODD)


def _spoilt_object(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(sorted(value, key=str)))
    match draw(st.sampled_from(["inside", "inside", "inside", "missing", "more"])):
        case "inside":
            return {**value, key: _spoil(draw, value[key])}
        case "missing":
            return {name: each for name, each in value.items() if name != key}
        case _:
            return {**value, draw(st.text(max_size=5)): draw(ODD)}


def _spoilt_list(draw: st.DrawFn, value: list[Any]) -> list[Any]:
    at = draw(st.integers(0, len(value) - 1))
    match draw(st.sampled_from(["inside", "inside", "missing", "twice"])):
        case "inside":
            return [*value[:at], _spoil(draw, value[at]), *value[at + 1 :]]
        case "missing":
            return value[:at] + value[at + 1 :]
        case _:
            return [*value, value[at]]


PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SERVICES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
ADDRESSES = st.builds(
    RemoteJob.of,
    SERVICES,
    PARTS,
    scope=st.none() | PARTS,
    conn_id=st.none() | PARTS,
    region=st.none() | PARTS,
)
OWNERS: st.SearchStrategy[Owner] = st.builds(
    lambda number, dag, run, task, index: Owner("0a1b2c3d", dag, run, task, index, 1, owner(number).ti_id),
    st.integers(0, 5),
    PARTS,
    PARTS,
    PARTS,
    st.integers(-1, 100),
)
