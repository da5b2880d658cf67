"""Processes of the benchmarks: the environment that they run in, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.account.process import ROOT

PATIENCE = 1800.0
"""Seconds after which a process is given up."""
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")


def environment(home: Path, url: str, *, key: str = "bench", **extra: Any) -> dict[str, str]:
    """An Airflow without a database, whose connection ``aws_default`` leads to the account at ``url``."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW_CONN_AWS_DEFAULT": connection(url, key, **extra),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def access_key(number: int) -> str:
    """An access key of account 123456789012; as AWS makes them, it tells the account."""
    return f"AKIARZPUZDIK{b32encode(f'{number:05}'.encode()).decode()}"


def connection(url: str, key: str = "bench", **extra: Any) -> str:
    """A connection of type ``aws``, as Airflow takes it from the environment."""
    values = {"region_name": "us-east-1", "endpoint_url": url, **extra}
    return json.dumps({"conn_type": "aws", "login": key, "password": "bench-secret", "extra": values})


@contextmanager
def home() -> Iterator[Path]:
    """An empty AIRFLOW_HOME."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def last_line(module: str, *args: str, env: dict[str, str]) -> Any:
    """The last line that a module prints, which is JSON.

    :raises RuntimeError: it failed; with the end of what it logged.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=ROOT,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stderr[-5000:]}")
    return json.loads(done.stdout.splitlines()[-1])
