# ruff: noqa: INP001  Sphinx loads it by its path
"""A directive that writes the reference of the command line from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_cancel_provider.cli import definitions


class CliReference(SphinxDirective):
    """Every command of ``airflow remote-jobs`` that is our own: usage, options, exit codes, examples."""

    def run(self) -> list[nodes.Node]:
        """One section for each command."""
        self.env.note_dependency(definitions.__file__)
        lines = [line for command in definitions.COMMANDS for line in _section(command)]
        return list(self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True))


def _section(command: Any) -> Iterator[str]:
    parser = argparse.ArgumentParser(prog=f"airflow {definitions.GROUP} {command.name}", add_help=False)
    for arg in command.args:
        arg.add_to_parser(parser)
    exit_codes, _, examples = command.epilog.partition("\n\nExamples:\n")
    yield from (f".. _cli-{command.name}:", "", command.name, "-" * len(command.name), "")
    yield from (f"{command.help}. {exit_codes}", "")
    yield from (".. code-block:: text", "", *(f"   {line.strip()}" for line in examples.splitlines()), "")
    for action in parser._actions:  # noqa: SLF001  argparse has no public list of them
        yield _term(action)
        yield f"   {_escaped(action.help or '')}"
        yield ""


def _term(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or (action.dest or '').upper()}"
    if not action.option_strings:
        return f"``{action.metavar or action.dest}``"
    return ", ".join(f"``{option}{value}``" for option in action.option_strings)


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*`_|\\" else letter for letter in text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("cli-reference", CliReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
