"""Shorthand of structures."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.cli.service_commands.shorthand import shorthand


def shape(type_name: str, **parts: Any) -> Any:
    return SimpleNamespace(type_name=type_name, **parts)


STRING, INTEGER = shape("string"), shape("integer")
LIST = shape("list", member=STRING)
FILTER = shape(
    "structure", members={"name": STRING, "values": LIST, "count": INTEGER, "on": shape("boolean")}
)
WORDS = st.text(st.characters(exclude_characters=",\"'[]\\= {}@", exclude_categories=["C", "Z"]), min_size=1)


@pytest.mark.parametrize(
    "text, found",
    [
        ("name=a", {"name": "a"}),
        ("name=a,values=b", {"name": "a", "values": ["b"]}),
        ("name=a,values=b,c", {"name": "a", "values": ["b", "c"]}),
        ("values=b,c,name=a", {"values": ["b", "c"], "name": "a"}),
        ("values=[b, c],name=a", {"values": ["b", "c"], "name": "a"}),
        ("values=[],name=a", {"values": [], "name": "a"}),
        (r"name=a\,b", {"name": "a,b"}),
        ("name=\"a,b=c\",values='d e'", {"name": "a,b=c", "values": ["d e"]}),
        (r'name="a \"b\""', {"name": 'a "b"'}),
        ("name = a , count = 3", {"name": "a", "count": 3}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("on=true", {"on": True}),
        ("name=ü", {"name": "ü"}),
        ("other=x", {"other": "x"}),
    ],
)
def test_values(text: str, found: dict[str, Any]) -> None:
    assert shorthand(text, FILTER) == found


@pytest.mark.parametrize(
    "text, words",
    [
        ("name", "Expected: '=', received: 'EOF' for input:\nname\n    ^"),
        ("", "Expected: '=', received: 'EOF'"),
        ("name=a,", "Expected: '<second>', received: '<none>' for input:\nname=a,\n       ^"),
        ("name=a,name=b", 'Second instance of key "name"'),
        (
            "name=a,values='b",
            "Expected: '<singled quoted>', received: '<none>' for input:\nname=a,values='b\n" + " " * 14,
        ),
        ('name="a', "Expected: '<double quoted>', received: '<none>'"),
        ("values={a=b}", "A structure in a structure is written as JSON"),
        ("values=[a, {b=c}]", "A structure in a structure is written as JSON"),
        ("values=[a", "Expected: ',', received: 'EOF'"),
        ("count=x", "invalid literal for int()"),
        ('name="a"b', "Expected: ',', received: 'b'"),
    ],
)
def test_errors_show_the_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        shorthand(text, FILTER)


@given(st.dictionaries(st.sampled_from("abcde"), WORDS, min_size=1))
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    text = ",".join(f"{name}={value}" for name, value in values.items())
    assert shorthand(text, shape("map", value=STRING)) == values


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        shorthand(text, FILTER)
    except ValueError:
        return
