"""Command lines that the AWS CLI and ours are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NOWHERE = "http://127.0.0.1:9"
RIGHT: dict[tuple[str, str], list[str]] = {
    ("emr", "cancel-steps"): ["--cluster-id", "{scope}", "--step-ids", "{id}"],
    ("emr", "describe-step"): ["--cluster-id", "{scope}", "--step-id", "{id}"],
    ("emr", "list-steps"): ["--cluster-id", "{scope}"],
    ("batch", "cancel-job"): ["--job-id", "{id}", "--reason", "no longer needed: ü"],
    ("batch", "terminate-job"): ["--job-id", "{id}", "--reason", "no longer needed: ü"],
    ("batch", "describe-jobs"): ["--jobs", "{id}"],
    ("batch", "list-jobs"): ["--job-queue", "queue", "--job-status", "RUNNING"],
    ("emr-serverless", "cancel-job-run"): ["--application-id", "{scope}", "--job-run-id", "{id}"],
    ("emr-serverless", "get-job-run"): ["--application-id", "{scope}", "--job-run-id", "{id}"],
    ("emr-serverless", "list-job-runs"): ["--application-id", "{scope}"],
    ("emr-containers", "cancel-job-run"): ["--virtual-cluster-id", "{scope}", "--id", "{id}"],
    ("emr-containers", "describe-job-run"): ["--virtual-cluster-id", "{scope}", "--id", "{id}"],
    ("emr-containers", "list-job-runs"): ["--virtual-cluster-id", "{scope}"],
    ("glue", "batch-stop-job-run"): ["--job-name", "{scope}", "--job-run-ids", "{id}"],
    ("glue", "get-job-run"): ["--job-name", "{scope}", "--run-id", "{id}"],
    ("glue", "get-job-runs"): ["--job-name", "{scope}"],
}
JSON = {
    ("emr", "cancel-steps"): '{"ClusterId": "{scope}", "StepIds": ["{id}"]}',
    ("batch", "cancel-job"): '{"jobId": "{id}", "reason": "because"}',
    ("batch", "terminate-job"): '{"jobId": "{id}", "reason": "because"}',
    ("emr-serverless", "cancel-job-run"): '{"applicationId": "{scope}", "jobRunId": "{id}"}',
    ("emr-containers", "cancel-job-run"): '{"virtualClusterId": "{scope}", "id": "{id}"}',
    ("glue", "batch-stop-job-run"): '{"JobName": "{scope}", "JobRunIds": ["{id}"]}',
}
"""Inputs of the operations that cancel."""


_SKELETON = "the AWS CLI refuses its own skeleton"
DIFFERENCES = {
    **{
        (command, "skeleton of the reply"): _SKELETON
        for command in ("describe-job-run", "list-job-runs", "get-job-run", "get-job-runs", "describe-jobs")
    },
    ("list-jobs", "skeleton of the reply"): "its botocore is older than ours",
    ("list-jobs", "number as a word"): "ours names the option",
    ("list-jobs", "shorthand"): "ours takes JSON alone",
    ("cancel-steps", "file as ids"): "ours names the option",
    ("cancel-steps", "a reply that is none"): "the AWS CLI takes it for an answer",
    ("list-steps", "query of names as text"): "ours writes objects as JSON",
    ("list-steps", "query of rows as text"): "the AWS CLI can't write them",
    ("list-steps", "cut off as text"): "ours writes objects as JSON",
}


@dataclass(frozen=True)
class Case:
    """One command line, and what goes wrong in the service.

    :param arguments: with ``{scope}``, ``{id}`` and ``{unknown}``, an id that the service does not know.
    :param fault: kind of the fault that each call meets.
    :param differs: where both differ, and why.
    """

    service: str
    command: str
    title: str
    arguments: tuple[str, ...]
    fault: str = ""
    differs: str = ""

    @property
    def cancels(self) -> bool:
        return (self.service, self.command) in JSON

    def __str__(self) -> str:
        return f"{self.service} {self.command}: {self.title}"


def cases() -> Iterator[Case]:
    """Every case."""
    for (service, command), right in RIGHT.items():
        of = _Of(service, command, tuple(right))
        yield from of.shown()
        if of.input:
            yield from of.inputs()
            yield from of.faults()
    yield from _others()


@dataclass(frozen=True)
class _Of:
    """The cases of one command."""

    service: str
    command: str
    right: tuple[str, ...]

    @property
    def input(self) -> str:
        return JSON.get((self.service, self.command), "")

    def case(self, title: str, *arguments: str, fault: str = "") -> Case:
        return Case(
            self.service, self.command, title, arguments, fault, DIFFERENCES.get((self.command, title), "")
        )

    def shown(self) -> Iterator[Case]:
        yield self.case("right", *self.right)
        yield self.case("--query", *self.right, "--query", "keys(@)")
        yield self.case("nothing given")
        yield self.case("skeleton", "--generate-cli-skeleton")
        yield self.case("skeleton of the reply", *self.right, "--generate-cli-skeleton", "output")

    def inputs(self) -> Iterator[Case]:
        yield self.case("unknown id", *(part.replace("{id}", "{unknown}") for part in self.right))
        yield self.case("first option without a value", self.right[0])
        yield self.case("value that begins with -", self.right[0], "-x", *self.right[2:])
        yield self.case("unknown option", *self.right, "--no-such-option", "x")
        yield self.case("input as JSON", "--cli-input-json", self.input)
        yield self.case("options over JSON", *self.right, "--cli-input-json", f'{{"{self.first}": "x"}}')
        yield self.case("JSON without a parameter", "--cli-input-json", "{}")
        yield self.case("JSON with another parameter", *self.right, "--cli-input-json", '{"Other": 1}')
        yield self.case("JSON with another type", "--cli-input-json", self.input.replace('"{id}"', "7"))
        yield self.case("broken JSON", "--cli-input-json", "{")
        yield self.case("no such file", "--cli-input-json", "file:///no/such/file")
        yield self.case("skeleton of another kind", "--generate-cli-skeleton", "x")
        yield self.case("skeleton of the reply, nothing given", "--generate-cli-skeleton", "output")

    @property
    def first(self) -> str:
        """The first parameter in the words of the service."""
        return self.input.split('"')[1]

    def faults(self) -> Iterator[Case]:
        yield self.case("not allowed", *self.right, fault="denied")
        yield self.case("throttled", *self.right, fault="throttle")
        yield self.case("the service fails", *self.right, fault="server_error")
        yield self.case("nobody listens", *self.right, "--endpoint-url", NOWHERE)


def _others() -> Iterator[Case]:
    emr, batch = _Of("emr", "cancel-steps", ()), _Of("batch", "list-jobs", ())
    both = ("--cluster-id", "{scope}", "--step-ids")
    yield emr.case("some unknown", *both, "{id}", "{unknown}")
    yield emr.case("ids as JSON", *both, '["{id}"]')
    yield emr.case("ids with a comma", *both, "{id},{unknown}")
    yield emr.case("no ids", *both)
    yield emr.case("no ids, as JSON", *both, "[]")
    yield emr.case("unicode", "--cluster-id", "{scope}", "--step-ids", "s-ü")
    yield emr.case("option", *both, "{id}", "--step-cancellation-option", "TERMINATE_PROCESS")
    yield emr.case("unknown choice", *both, "{id}", "--step-cancellation-option", "NONE")
    yield emr.case("unknown output", *both, "{id}", "--output", "xml")
    yield emr.case("broken query", *both, "{id}", "--query", "[")
    yield emr.case("query of another type", *both, "{id}", "--query", "sum(CancelStepsInfoList)")
    yield emr.case("endpoint without a scheme", *both, "{id}", "--endpoint-url", "localhost")
    yield emr.case("abbreviated", "--cluster", "{scope}", "--step-i", "{id}")
    yield Case("emr", "", "no operation", ())
    steps = _Of("emr", "list-steps", ("--cluster-id", "{scope}"))
    yield steps.case("first items", *steps.right, "--max-items", "1", "--query", "length(Steps)")
    yield steps.case("items as a word", *steps.right, "--max-items", "x")
    yield steps.case("not paged", *steps.right, "--no-paginate")
    yield steps.case("not paged, with items", *steps.right, "--no-paginate", "--max-items", "1")
    yield steps.case("states", *steps.right, "--step-states", "RUNNING", "PENDING", "--query", "Steps[].Id")
    for output in ("json", "text"):
        shown = ("--output", output)
        yield steps.case(f"query of nothing as {output}", *steps.right, *shown, "--query", "Nothing")
        yield steps.case(f"query of one value as {output}", *steps.right, *shown, "--query", "Steps[0].Id")
        yield steps.case(
            f"query of names as {output}", *steps.right, *shown, "--query", "Steps[].{A:Id,B:Name}"
        )
        yield steps.case(f"query of rows as {output}", *steps.right, *shown, "--query", "Steps[].[Id,Status]")
        yield steps.case(f"query of a list as {output}", *steps.right, *shown, "--query", "Steps[].Id")
        yield steps.case(
            f"query of half rows as {output}", *steps.right, *shown, "--query", "Steps[].[Id,Name]"
        )
        yield steps.case(f"cut off as {output}", *steps.right, *shown, "--max-items", "1")
        yield batch.case(f"nothing found as {output}", "--job-queue", "nothing", *shown)
    yield steps.case("go on from nowhere", *steps.right, "--starting-token", "x")
    yield steps.case("no items", *steps.right, "--max-items", "0")
    yield steps.case("empty id", "--cluster-id", "")
    yield steps.case("region of another form", *steps.right, "--region", "no region")
    yield emr.case("file in a folder of a variable", "--cli-input-json", "file://$HOME/no such file")
    yield steps.case("not verified", *steps.right, "--no-verify-ssl")
    yield steps.case("twice", "--cluster-id", "x", *steps.right, "--query", "Steps[].Id")
    yield emr.case("file as ids", *both, "file:///dev/null")
    yield emr.case("reset", *both, "{id}", fault="reset")
    yield emr.case("a reply that is none", *both, "{id}", fault="hostile_reply")
    yield from _of_queue(batch)
    runs = _Of("glue", "get-job-run", ())
    run = ("--job-name", "{scope}", "--run-id", "{id}")
    yield runs.case("a switch", *run, "--predecessors-included", "--query", "JobRun.JobRunState")
    yield runs.case("a switch, off", *run, "--no-predecessors-included", "--query", "JobRun.JobRunState")


def _of_queue(batch: _Of) -> Iterator[Case]:
    queue = ("--job-queue", "queue")
    filters = '[{"name": "JOB_NAME", "values": ["running"]}]'
    yield batch.case("filters as JSON", *queue, "--filters", filters)
    yield batch.case("shorthand", *queue, "--filters", "name=JOB_NAME,values=running")
    yield batch.case("number as a word", *queue, "--max-results", "x")
    yield batch.case("page by hand", *queue, "--job-status", "RUNNING", "--max-results", "1")
