"""Replies with a success status whose body is not the answer: what proxies, portals and bugs put on the wire.

A shape is made either from nothing (a page, an empty body) or from the true answer (a part of it is missing).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Response

MEGABYTES = 5
DEPTH = 100_000
HTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
NONSENSE: dict[str, Any] = {
    "": None,
    "jobs": {"jobs": {"jobs": [[], [[]], {"jobId": {"jobId": []}}]}},
    "jobSummaryList": [[["x"]], 7, None, {"jobId": ["x"]}],
    "successful": {"x": ["y"]},
    "errors": [None, 7, "x", [[]]],
    "CancelStepsInfoList": [[{"StepId": {"Status": "SUBMITTED"}}], None, 7],
    "Step": {"Status": {"State": {"State": ["RUNNING"]}}},
    "Steps": {"0": {"Id": 7}},
    "jobRun": [{"state": {"state": {}}}],
    "jobRuns": {"0": None},
    "JobRun": [{"JobRunState": {"JobRunState": {}}}],
    "JobRuns": {"0": None},
    "SuccessfulSubmissions": [[{"JobRunId": ["x"]}], None, 7],
    "Errors": {"JobRunId": "x"},
    "virtualCluster": [{"id": {"id": []}}],
    "virtualClusters": {"0": 7},
    "job_detail": [[{"job_state": {"job_result": [1.5]}}]],
    "job_list": {"0": [None]},
    "job_execution": [[], {"job_state": {"job_state": True}}],
    "job_executions": "x",
    "job_submit_result": [{"job_id": {"job_id": 7}}],
}
# Bodies of successful writes, for replies to a write that is not performed.
EXAMPLES: dict[str, Any] = {
    "SubmitJob": {"jobArn": "arn:aws:batch:us-east-1:1:job/x", "jobName": "x", "jobId": "x"},
    "CancelJobs": {"successful": ["x"], "errors": []},
    "TerminateJobs": {"successful": ["x"], "errors": []},
    "AddJobFlowSteps": {"StepIds": ["s-X"]},
    "CancelSteps": {"CancelStepsInfoList": [{"StepId": "s-X", "Status": "SUBMITTED"}]},
    "RunJobFlow": {"JobFlowId": "j-X", "ClusterArn": "arn:aws:elasticmapreduce:us-east-1:1:cluster/j-X"},
    # Of EMR Serverless, EMR on EKS and Glue.
    "StartJobRun": {
        "applicationId": "x",
        "jobRunId": "x",
        "arn": "arn:aws:emr-serverless:us-east-1:1:/x",
        "virtualClusterId": "x",
        "id": "x",
        "name": "x",
        "JobRunId": "x",  # of Glue
    },
    "CancelJobRun": {"applicationId": "x", "jobRunId": "x", "virtualClusterId": "x", "id": "x"},
    "BatchStopJobRun": {"SuccessfulSubmissions": [{"JobName": "x", "JobRunId": "x"}], "Errors": []},
    "CreateExecuteJob": {"job_submit_result": {"job_id": "x", "state": "COMPLETE"}},
    "CancelSql": {"status": "SUCCEED"},
    "CreateAndExecuteJob": {"job_execution": {"id": "x", "job_state": 1, "job_final_status": 0}},
    "CancelJobExecution": {"job_execution": {"id": "x", "cluster_id": "x", "info": None}},
}


@dataclass
class Reply:
    """What goes out instead of the true answer."""

    body: bytes
    content_type: str = ""
    encoding: str = ""
    missing_bytes: int = 0


def _wrong_type(value: Any) -> Any:
    """A value of another type, so that its use as the documented one goes wrong."""
    for kind, other in ((bool, "true"), (str, {"S": "x"}), (int, "seven"), (float, "seven"), (list, "x")):
        if isinstance(value, kind):
            return other
    return ["x"] if isinstance(value, dict) else 7


def _each(value: Any, change: Callable[[str, Any], Any], key: str = "") -> Any:
    """A copy with every leaf changed; ``change`` gets the name of the field that the leaf is in."""
    if isinstance(value, dict):
        return {name: _each(inner, change, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each(inner, change, key) for inner in value]
    return change(key, value)


def _hollow(value: Any) -> Any:
    """Lists and objects of the first two levels, all others without their fields."""
    if not isinstance(value, dict):
        return value
    lists = {
        name: [{} if isinstance(one, dict) else one for one in v]
        for name, v in value.items()
        if isinstance(v, list)
    }
    return lists | {name: {} for name, v in value.items() if isinstance(v, dict)}


def _shorter(value: Any) -> Any:
    """Every list without its last entry."""
    if isinstance(value, dict):
        return {name: _shorter(inner) for name, inner in value.items()}
    return [_shorter(inner) for inner in value[:-1]] if isinstance(value, list) else value


def _other_id(key: str, value: Any) -> Any:
    """Another id of the same form: the answer is about somebody else's job."""
    is_id = isinstance(value, str) and (key.lower().endswith(("id", "ids", "arn")) or key == "successful")
    return value[:-4] + "".join(chr(ord(letter) ^ 1) for letter in value[-4:]) if is_id else value


def _number(_: str, value: Any) -> Any:
    """Numbers that no date can be made from."""
    return 10**300 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _with_umlauts(value: Any, encoding: str) -> Reply:
    text = json.dumps({"grüße": "für", **value} if isinstance(value, dict) else value, ensure_ascii=False)
    return Reply(text.encode(encoding))


MADE: dict[str, Callable[[], Reply]] = {
    "html": lambda: Reply(HTML.encode(), "text/html"),
    "html_as_json": lambda: Reply(HTML.encode()),
    "empty": lambda: Reply(b""),
    "blank": lambda: Reply(b"\r\n  "),
    "null": lambda: Reply(b"null"),
    "array": lambda: Reply(b'[{"jobId": "x"}, null, 7]'),
    "string": lambda: Reply(b'"OK"'),
    "number": lambda: Reply(b"7"),
    "not_a_number": lambda: Reply(b'{"jobs": NaN, "Step": Infinity}'),
    "huge": lambda: Reply(_json({"jobs": ["x" * 1000] * (MEGABYTES * 1000)})),
    "huge_html": lambda: Reply(b"<html>" + b"<p>busy</p>" * (MEGABYTES * 95_000), "text/html"),
    "nonsense": lambda: Reply(_json(NONSENSE)),
    "deep": lambda: Reply(b'{"jobs": ' + b"[" * DEPTH + b"]" * DEPTH + b"}"),
    "binary": lambda: Reply(bytes(range(256)), "application/octet-stream"),
}
"""Shapes that are the same for every operation."""

DERIVED: dict[str, Callable[[Any], Reply]] = {
    "truncated": lambda true: Reply(_json(true)[: max(1, len(_json(true)) // 2)]),
    "cut_off": lambda true: Reply(_json(true)[: max(1, len(_json(true)) // 2)], missing_bytes=1000),
    "wrong_types": lambda true: Reply(_json({name: _wrong_type(value) for name, value in true.items()})),
    "wrong_leaves": lambda true: Reply(_json(_each(true, lambda _, value: _wrong_type(value)))),
    "nulls": lambda true: Reply(_json(dict.fromkeys(true))),
    "null_leaves": lambda true: Reply(_json(_each(true, lambda *_: None))),
    "missing": lambda _: Reply(b"{}"),
    "missing_leaves": lambda true: Reply(_json(_hollow(true))),
    "shorter_lists": lambda true: Reply(_json(_shorter(true))),
    "other_ids": lambda true: Reply(_json(_each(true, _other_id))),
    "numbers": lambda true: Reply(_json(_each(true, _number))),
    "unknown_words": lambda true: Reply(
        _json(
            _each(true, lambda key, v: "MOON" if key.lower().endswith(("state", "status", "result")) else v)
        )
    ),
    "utf16": lambda true: _with_umlauts(true, "utf-16"),
    "latin1": lambda true: _with_umlauts(true, "latin-1"),
    "byte_order_mark": lambda true: _with_umlauts(true, "utf-8-sig"),
    "gzip": lambda true: Reply(gzip.compress(_json(true))),
    "false_gzip": lambda true: Reply(_json(true), encoding="gzip"),
}
"""Shapes that are made from the true answer, or from one of ``EXAMPLES``."""

SHAPES = (*MADE, *DERIVED)


def hostile_reply(
    shape: str, operation: str, true: Response | None, *, status: int | None = None, body: str | bytes = b""
) -> Response:
    """Answer in one of ``SHAPES``.

    :param true: the true answer; None when the operation was not performed.
    :param status: HTTP status; the true answer's without one, or 200 if that is none of success.
    :param body: what to answer when ``shape`` is ""; text goes out as UTF-8.
    """
    usual = true.status_code if true is not None and 200 <= true.status_code < 300 else 200
    reply = (
        _shaped(shape, operation, true) if shape else Reply(body.encode() if isinstance(body, str) else body)
    )
    response = Response(reply.body, status or usual)
    if true is not None and shape in DERIVED:
        response.headers.extend({k: v for k, v in true.headers if k.lower().startswith("x-")})
    response.content_type = reply.content_type or "application/json"
    if reply.encoding:
        response.headers["Content-Encoding"] = reply.encoding
    if reply.missing_bytes:
        # The client is to notice at once, so the connection must not stay open for more.
        response.headers["Content-Length"] = str(len(reply.body) + reply.missing_bytes)
        response.headers["Connection"] = "close"
    return response


def _shaped(shape: str, operation: str, true: Response | None) -> Reply:
    if shape in MADE:
        return MADE[shape]()
    example = EXAMPLES.get(operation, {})
    try:
        known = json.loads(true.get_data()) if true is not None else example
    except ValueError:
        known = example
    return DERIVED[shape](known if isinstance(known, dict) else example)
