"""Changes of a module, made by cosmic-ray."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

SKIPPED = (
    "core/NumberReplacer",
    "core/RemoveDecorator",
    "core/ReplaceBinaryOperator_BitOr",
    "core/ReplaceComparisonOperator_Is_Eq",
    "core/ReplaceComparisonOperator_IsNot_NotEq",
)
"""Changes that say nothing: paces and sizes; dataclasses and properties; ``|`` in annotations; members of an
enumeration, and None, are equal to nothing but themselves."""


@dataclass(frozen=True)
class Change:
    """One change of a module."""

    source: str
    operator: str
    occurrence: int
    first_line: int
    last_line: int

    @cached_property
    def code(self) -> str:
        """The module with the change."""
        code: str = mutate_code(self.source, get_operator(self.operator)(), self.occurrence)
        return code

    def __str__(self) -> str:
        lines = difflib.unified_diff(self.source.split("\n"), self.code.split("\n"), n=0, lineterm="")
        words = "\n".join(
            f"    {line}" for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}
        )
        return f"  line {self.first_line}: {self.operator.removeprefix('core/')} {self.occurrence}\n{words}"


def changes(source: str, most: int) -> list[Change]:
    """Changes of a module in the order of its lines; at most so many, spread over it."""
    found = sorted(_all(source), key=lambda change: (change.first_line, change.operator, change.occurrence))
    decorators = _decorators(ast.parse(source))
    found = [change for change in found if change.first_line not in decorators]
    step = max(1, -(-len(found) // most))
    return [change for change in found[::step] if _says_something(change)]


def _all(source: str) -> Iterator[Change]:
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator = get_operator(name)
        if name.startswith(SKIPPED) or operator.arguments():
            continue
        places = (place for node in nodes for place in operator().mutation_positions(node))
        for occurrence, ((first, _), (last, _)) in enumerate(places):
            yield Change(source, name, occurrence, first, last)


def _decorators(tree: ast.Module) -> set[int]:
    """Their lines: what dataclasses and properties are told."""
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, named)
        for each in node.decorator_list
        for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)
    }


def _says_something(change: Change) -> bool:
    """Whether it is more than another way to write the same, and Python at all."""
    before = ast.parse(change.source)
    try:
        after = ast.parse(change.code)
    except SyntaxError:
        return False
    if change.operator.startswith("core/ReplaceBinaryOperator") and _parameters(before) != _parameters(after):
        return False  # the star before keyword-only parameters was taken for a product
    return ast.dump(before) != ast.dump(after)


def _parameters(tree: ast.Module) -> list[str]:
    return [ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.arguments)]
