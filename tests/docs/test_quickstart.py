"""The quickstart without an AWS account, from the first block to the last, as somebody pastes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.real_airflow.processes import free_port

PAGE = ROOT / "docs" / "quickstart.rst"
INSTALL = ".venv/bin/pip install apache-airflow airflow-cancel-provider 'moto[server]'"
"""Not repeated here: what runs the tests has them."""


def local_part() -> str:
    """The script of the first part of the page, with ports of its own, and without the download."""
    length = PAGE.read_text().index(".. _quickstart-emr:")
    last_line = PAGE.read_text().count("\n", 0, length)
    blocks = [each.text for each in blocks_of(PAGE) if each.language == "bash" and each.line < last_line]
    script = "\n".join(blocks)
    for what, instead in {
        "python3 -m venv .venv": f"mkdir -p .venv && ln -s {Path(sys.executable).parent} .venv/bin",
        INSTALL: "true",
        "5055": str(free_port()),
        "localhost:8080": f"localhost:{(port := free_port())}",
    }.items():
        assert what in script
        script = script.replace(what, instead)
    address = f"AIRFLOW__API__PORT={port} AIRFLOW__API__BASE_URL=http://localhost:{port}"
    # With job control, as at a prompt: "kill %1" ends a job with all its processes.
    return f"set -em\ntrap 'kill %1 %2 2>/dev/null || true' EXIT\nexport {address}\n{script}"


@pytest.mark.slow
@pytest.mark.airflow
@pytest.mark.timeout(600)
def test_a_killed_tasks_job_is_cancelled(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    process = subprocess.Popen(
        ["bash", "-c", local_part()],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1,localhost"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        process.terminate()  # its trap ends what it has started
        said, _ = process.communicate()
    running, cancelled = said.splitlines()
    assert running.startswith("RUNNING nightly-load af-")
    assert cancelled == running.replace("RUNNING", "CANCELLED")
    assert process.returncode == 0
