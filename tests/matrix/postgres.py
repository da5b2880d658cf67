"""A PostgreSQL of its own in a temporary folder, gone when it is not needed any more."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.real_airflow.processes import free_port

SETTINGS = {"fsync": "off", "max_connections": "300"}


def binaries() -> Path:
    """The folder with ``initdb``, which Debian keeps out of the path.

    :raises RuntimeError: there is none.
    """
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        raise RuntimeError("No PostgreSQL here: `apt-get install postgresql`, or use --sqlite.")
    return versions[-1].parent


@contextlib.contextmanager
def postgres(host: str = "127.0.0.1") -> Iterator[str]:
    """SQLAlchemy URL of a server that runs within the ``with`` block, for all on its host's networks."""
    folder = Path(tempfile.mkdtemp(prefix="matrix-postgres-"))
    # PostgreSQL refuses to run as root; the package has made a user for it.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    _run(as_user, "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    settings = SETTINGS | {"listen_addresses": host}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    control = ("pg_ctl", "-D", data, "-w", "-l", folder / "log")
    _run(as_user, *control, "-o", f"-p {port} -k {folder} {options}", "start")
    try:
        yield f"postgresql+psycopg2://postgres@{host}:{port}/postgres"
    finally:
        _run(as_user, *control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _run(prefix: list[str], program: str, *arguments: object) -> None:
    command = [*prefix, str(binaries() / program), *map(str, arguments)]
    # pg_ctl's server would keep a captured pipe open.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
