"""The account as a process beside this one."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.account.population import Population
from benchmarks.account.server import FIGURES

ROOT = Path(__file__).parents[2]


@contextmanager
def account(population: Population, latency: float, calls: Path | None = None) -> Iterator[str]:
    """The address of an account that is there within the ``with`` block.

    :param calls: file for the calls that it answers, a line of JSON each.
    """
    command = [sys.executable, "-m", "benchmarks.account", json.dumps(asdict(population)), str(latency)]
    command += [str(calls)] if calls else []
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def figures(url: str) -> dict[str, Any]:
    """What the account at an address has seen so far."""
    return control(url, FIGURES)


def control(url: str, path: str, **body: Any) -> dict[str, Any]:
    """Ask the account for something that no service offers: :data:`FINISH`, :data:`TROUBLE`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}{path}", json.dumps(body).encode(), timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
