"""A call of AWS that starts jobs: how it is labelled and read. Plain data; imports no SDK.

A label goes where it can't change what is submitted and needs no permission of its own: into a name, or into
a parameter that nothing refers to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.submissions import (
    LABEL_PARAMETER,
    LONGEST_NAME,
    Submission,
    with_label,
    without_label,
)

Params = Mapping[str, Any]
_ID = re.compile(r"[!-~]+", re.ASCII)
JobIds = Iterator[tuple[str | None, str]]
"""Scope (cluster, application) and id of each job that was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSubmission(Submission):
    """A call that any boto3 client may make.

    :param scope: where its jobs can be listed (cluster, queue, application), from the call's parameters.
    :param bare: the parameters without labels: those of the jobs that they were copied from, whose owners are
        others. The same where there are none; else new values, as of all of these functions: the caller's
        stay as they are.
    :param label: the parameters with the label added.
    :param texts: name of each job, and the text that holds its label if it carries one, from the parameters.
    :param jobs: ids of what was started, from the parameters and the answer.
    :param carriers: other ways to add the label, by name.
    :param largest: how many bytes a request may have; 0: any number.
    :param place: for a call that does not tell the ids: the scope that the jobs are in, from the answer.
    """

    scope: Callable[[Params], str | None]
    bare: Callable[[Params], Params]
    label: Callable[[Params, Label], Params]
    texts: Callable[[Params], Iterator[tuple[str, str]]]
    jobs: Callable[[Params, Params], JobIds]
    place: Callable[[Params], str | None] | None = None
    carriers: Mapping[str, Callable[[Params, Label], Params]] = field(default_factory=dict)
    largest: int = 0

    def labelled(self, params: Params, label: Label, carrier: str | None) -> Params:
        """The parameters with the label added, in the way that is wanted or in the usual one.

        Where there is no room for it they stay as they are.
        """
        written = self.carriers.get(carrier or "", self.label)(params, label)
        is_too_large = self.largest and len(json.dumps(written, default=str)) > self.largest
        return params if is_too_large else written

    def unlabelled(self, params: Params, label: Label | None) -> tuple[str, ...]:
        """Names of those of the jobs that don't carry this label."""
        return tuple(name for name, text in self.texts(params) if not label or Label.find(text) != label)


def bare_name(params: Params) -> Params:
    """The parameters without a label in ``name``."""
    name = params.get("name")
    if not isinstance(name, str) or not Label.find(name):
        return params
    return {**params, "name": without_label(name)}


def bare_entry(params: Params, field: str, key: str = LABEL_PARAMETER) -> Params:
    """The parameters without the entry ``key`` of a map, if it holds a label."""
    given = params.get(field) or {}
    if not Label.find(given.get(key)):
        return params
    others = {name: value for name, value in params.items() if name != field}
    left = {name: value for name, value in given.items() if name != key}
    return {**others, field: left} if left else others


def label_name(params: Params, label: Label, joint: str = " ", longest: int = LONGEST_NAME) -> Params:
    """The parameters with the label behind ``name``; a job without a name is named by its label.

    :param joint: what stands between the two.
    :param longest: bytes that the two may have together.
    """
    name = params.get("name")
    if name is None:
        return {**params, "name": str(label)}
    if not name or not isinstance(name, str):
        return params
    return {**params, "name": with_label(name, label, joint, longest)}


def text_of_name(params: Params) -> Iterator[tuple[str, str]]:
    """The name of a job that its label is in."""
    name = params.get("name") or ""
    yield name, name


def ids(*pairs: tuple[str, Any] | tuple[None, Any]) -> JobIds:
    """Those that are ids: a reply may be anything, as what stands between here and the service may be."""
    return ((scope, job) for scope, job in pairs if isinstance(job, str) and _ID.fullmatch(job))
