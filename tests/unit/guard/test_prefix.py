"""What the guard logs in a try begins with the prefix by which its lines are found."""

from __future__ import annotations

import ast
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import airflow_cancel_provider.guard as package
from airflow_cancel_provider.services import submissions
from airflow_cancel_provider.task_log import PREFIX

PATHS = sorted(Path(package.__path__[0]).glob("*.py"))
LEVELS = {"info", "warning", "error", "exception"}


def own_loggers() -> Iterator[ModuleType]:
    """Modules that log with a logger of their own, which puts no prefix before a line."""
    for path in PATHS:
        module = importlib.import_module(f"{package.__name__}.{path.stem}")
        if isinstance(getattr(module, "log", None), logging.Logger):
            yield module
    yield submissions


def lines(module: ModuleType) -> Iterator[str]:
    """The texts that a module gives to its logger."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        match node:
            case ast.Call(func=ast.Attribute(ast.Name("log"), level), args=[text, *_]) if level in LEVELS:
                yield getattr(module, text.id) if isinstance(text, ast.Name) else ast.literal_eval(text)


def test_every_line_has_the_prefix() -> None:
    texts = [text for module in own_loggers() for text in lines(module)]
    assert len(texts) > 5
    assert [text for text in texts if not text.startswith(f"{PREFIX} ")] == []
