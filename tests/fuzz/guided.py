"""Coverage-guided fuzzing of what is read from text: addresses, owners, labels, places and records.

``python -m tests.fuzz.guided [libFuzzer arguments]``: ends with an error at the first input
that raises anything but ``InvalidInput``. Needs atheris.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["airflow_cancel_provider"]):
    from airflow_cancel_provider.exceptions import InvalidInput
    from airflow_cancel_provider.jobs import RemoteJob
    from airflow_cancel_provider.owner import Label, Owner
    from airflow_cancel_provider.reaper.places import Place
    from airflow_cancel_provider.record import TryRecord, TryState
    from tests.model.world import label, owner

JOB = RemoteJob.of("emr", "s-1", scope="j-1", conn_id="aws_default", region="eu-west-1")
SEEDS = (
    str(JOB),
    str(owner(0)),
    str(label(0, reconnects=True)),
    json.dumps(TryRecord(owner(0).ti_id, TryState.DEFERRED, (JOB,), (), {JOB: 4.5}).as_json()),
)
"""What is true, to change from: from nothing the readers refuse everything at their first step."""
READERS = (RemoteJob, Owner.parse, Label.find, Place.parse)


def read(data: bytes) -> None:
    """Give one input to every reader."""
    text = data.decode("utf-8", "surrogateescape")
    for reader in READERS:
        with suppress(InvalidInput):
            reader(text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    with suppress(InvalidInput):
        TryRecord.from_json(value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            Path(corpus, str(number)).write_text(seed)
        atheris.Setup([*sys.argv, corpus], read)
        atheris.Fuzz()
