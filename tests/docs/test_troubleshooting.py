"""The messages that the page on troubleshooting explains are those of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text()
MESSAGES = re.findall(r"``([^`]+)``", "\n".join(re.findall(r"^(``.*``)$", PAGE, re.M)))
# What differs: a parameter of a log line, or of an f-string.
_PARAMETER = re.compile(r"%(?:\.\d)?[sdrf]")
SECTION = "cancel_provider"


def texts(path: Path) -> Iterator[str]:
    """The texts of a module, an ellipsis for what differs."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.JoinedStr(values=values):
                yield "".join(_part(value) for value in values)
            case ast.Constant(value=str(text)):
                yield _PARAMETER.sub("…", text)


def _part(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=ast.Name(id="_SECTION" | "SECTION")):
            return SECTION
        case ast.FormattedValue(value=ast.Name(id="GROUP")):
            return "remote-jobs"
        case _:
            return "…"


@cache
def source() -> str:
    paths = sorted((ROOT / "airflow_cancel_provider").rglob("*.py"))
    return "\n".join(text for path in paths for text in texts(path))


def test_the_page_explains_messages() -> None:
    assert len(MESSAGES) > 20


def _pattern(message: str) -> str:
    """What a message of the page stands for."""
    fragments = [fragment.strip() for fragment in message.split("…") if fragment.strip()]
    return r"[^\n]{0,80}?".join(map(re.escape, fragments))


def logged(path: Path) -> Iterator[str]:
    """The texts that a module logs as warnings and errors."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="warning" | "error" | "exception"), args=[first, *_]):
                match first:
                    case ast.JoinedStr(values=values):
                        yield "".join(map(_part, values))
                    case ast.Constant(value=str(text)):
                        yield _PARAMETER.sub("…", text)


def test_what_is_logged_as_a_warning_or_an_error_is_explained() -> None:
    patterns = [re.compile(_pattern(message)) for message in MESSAGES]
    texts = {text for path in (ROOT / "airflow_cancel_provider").rglob("*.py") for text in logged(path)}
    # What consists of parameters alone is an error in words of its own.
    with_words = {text for text in texts if re.search(r"[a-z]{3}", text)}
    assert len(with_words) > 50
    assert {text for text in with_words if not any(each.search(text) for each in patterns)} == set()


@pytest.mark.parametrize("message", MESSAGES)
def test_the_package_has_the_message(message: str) -> None:
    assert re.search(_pattern(message), source()), f"no module says {message!r}"
