"""Drop the answers of Airflow's supervisor that nobody waits for any more."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

from airflow_cancel_provider.owner import release_key


def drop_late_answers(ti_id: object) -> None:
    """Drop answers to requests that an exception of a signal handler has interrupted.

    Airflow takes the next answer for that to its next request, and does not compare their ids. After a kill
    or a time-out, a connection or a Variable could be another than the one that was asked for. So one more
    question is asked here, and answers are read up to the one to it. Remove this when Airflow compares ids.

    :param ti_id: of the try; it is asked what it has released.
    :raises Exception: the channel is closed, or not as in the versions that are known.
    """
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if not hasattr(channel, "_read_frame"):
        return  # there is none, or it has no queue (``dags test``)
    from airflow.sdk.execution_time.comms import GetVariable, _RequestFrame

    question = GetVariable(key=release_key(str(ti_id)))
    frame = _RequestFrame(id=next(channel.id_counter), body=question.model_dump())
    with getattr(channel, "_thread_lock", None) or nullcontext():
        channel.socket.sendall(frame.as_bytes())
        while channel._read_frame().id != frame.id:  # noqa: SLF001  there is no public way
            pass
