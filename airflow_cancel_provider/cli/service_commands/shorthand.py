"""The AWS CLI's shorthand for structures: ``name=JOB_NAME,values=a,b``.

https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html, without structures in structures:
these take JSON.
"""

from __future__ import annotations

import re
from typing import Any

_KEY = re.compile(r"\s*([A-Za-z0-9_.#/:-]*)\s*")
# In the order of a try: quoted, or anything up to a comma or a bracket that is not escaped.
_VALUE = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|((?:\\,|[^,\[\]])*))\s*""")
_QUOTED = {"'": "singled quoted", '"': "double quoted"}
"""What the AWS CLI calls a text in quotes."""
_NEXT_KEY = re.compile(r"\s*[A-Za-z0-9_.#/:-]+\s*=")


def shorthand(text: str, shape: Any) -> dict[str, Any]:
    """The structure or map that a text describes.

    :param shape: its model: a single value for a list is a list of one.
    :raises ValueError: the text is not shorthand; where, and what was expected.
    """
    found: dict[str, Any] = {}
    reader = _Reader(text)
    while True:
        begin = reader.at
        key = reader.key()
        if key in found:
            raise ValueError(
                f'Second instance of key "{key}" encountered for input:\n{reader.marked(begin)}\n'
                'This is often because there is a preceding "," instead of a space.'
            )
        found[key] = _fit(reader.values(), _member(shape, key))
        if reader.is_done:
            return found
        reader.expect(",")


def _member(shape: Any, key: str) -> Any:
    return shape.members.get(key) if shape.type_name == "structure" else shape.value


def _fit(value: Any, shape: Any) -> Any:
    if shape is None:  # not known: the validation of the call names it
        return value
    if shape.type_name == "list":
        return [_fit(each, shape.member) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return value
    if shape.type_name in ("integer", "long"):
        return int(value)
    return value.lower() == "true" if shape.type_name == "boolean" else value


class _Reader:
    """A place in a text, and what comes next in it."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @property
    def is_done(self) -> bool:
        return self.at >= len(self.text)

    def key(self) -> str:
        name = self._take(_KEY)
        self.expect("=")
        return name

    def values(self) -> Any:
        """One value; several, with commas; or a list in brackets."""
        if self.text[self.at : self.at + 1] == "[":
            return self._bracketed()
        found = [self._value()]
        while self.text[self.at : self.at + 1] == "," and not _NEXT_KEY.match(self.text, self.at + 1):
            self.at += 1
            if self.is_done:
                raise ValueError(
                    f"Expected: '<second>', received: '<none>' for input:\n{self.marked(self.at)}"
                )
            found.append(self._value())
        return found if len(found) > 1 else found[0]

    def expect(self, character: str) -> None:
        seen = self.text[self.at : self.at + 1] or "EOF"
        if seen != character:
            raise ValueError(
                f"Expected: '{character}', received: '{seen}' for input:\n{self.marked(self.at)}"
            )
        self.at += 1

    def marked(self, at: int) -> str:
        """The text, and a mark below a place in it."""
        return f"{self.text}\n{' ' * at}^"

    def _bracketed(self) -> list[str]:
        self.expect("[")
        found: list[str] = []
        while self.text[self.at : self.at + 1] != "]":
            found.append(self._value())
            if self.text[self.at : self.at + 1] != "]":
                self.expect(",")
        self.expect("]")
        return found

    def _value(self) -> str:
        match = _VALUE.match(self.text, self.at)
        assert match  # noqa: S101  its last branch takes the empty text, too
        double, single, plain = match.groups()
        if plain is not None:
            self._check_plain(plain, match.start(3))
            self.at = match.end()
            return plain.replace("\\,", ",").strip()
        self.at = match.end()
        return re.sub(r"\\(.)", r"\1", double if double is not None else single)

    def _check_plain(self, plain: str, at: int) -> None:
        """:raises ValueError: it begins like something else, which is not taken for text."""
        if kind := _QUOTED.get(plain[:1]):
            raise ValueError(f"Expected: '<{kind}>', received: '<none>' for input:\n{self.marked(at)}")
        if plain.startswith("{"):
            raise ValueError(f"A structure in a structure is written as JSON:\n{self.marked(at)}")

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match  # noqa: S101  it takes the empty text, too
        self.at = match.end()
        return match[1]
