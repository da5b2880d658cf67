"""One function for each way to start a job: it submits, says so, and waits if ``waits``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/job"
BUCKET = "client-jobs"
WAIT = 600.0
"""Seconds that a task waits for a job which does not end."""
BATCH = {"jobName": "job", "jobDefinition": "job"}


def awswrangler_emr(cluster: str, *, waits: bool) -> None:
    import awswrangler as wr

    wr.emr.submit_step(cluster_id=cluster, command="spark-submit job.py", name="job")
    sleep(waits=waits)


def awswrangler_emr_steps(cluster: str, *, waits: bool) -> None:
    import awswrangler as wr

    steps = [wr.emr.build_step(command=f"spark-submit {name}.py", name=name) for name in ("one", "two")]
    wr.emr.submit_steps(cluster_id=cluster, steps=steps)
    sleep(waits=waits)


def awswrangler_emr_serverless(application: str, *, waits: bool) -> None:
    import awswrangler as wr

    driver = {"entryPoint": "s3://bucket/job.py"}
    wr.emr_serverless.run_job(application, ROLE, driver, wait=waits, emr_serverless_job_wait_polling_delay=1)


def luigi(queue: str, *, waits: bool) -> None:
    import luigi
    from luigi.contrib.batch import BatchClient, BatchTask

    if not waits:
        BatchClient().submit_job("job", {"key": "value"}, job_name="job", queue=queue)
        return

    class Job(BatchTask):  # type: ignore[misc,no-any-unimported]
        parameters = {"key": "value"}  # noqa: RUF012  luigi's own way

    # Ends with False when the task fails, whatever it failed with.
    done = luigi.build(
        [Job(job_definition="job", job_name="job", job_queue=queue, poll_time=1)],
        local_scheduler=True,
        no_lock=True,
    )
    if not done:
        raise RuntimeError("luigi's task failed")


def mrjob(cluster: str, *, waits: bool) -> None:
    import boto3
    from word_count import WordCount

    s3: Any = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    arguments = {
        "--cluster-id": cluster,
        "--region": "us-east-1",
        "--cloud-tmp-dir": f"s3://{BUCKET}/tmp/",
        "--check-cluster-every": "1",
        "--cloud-fs-sync-secs": "0",
    }
    words = [word for pair in arguments.items() for word in pair]
    job = WordCount(args=["-r", "emr", "--no-conf", "--no-bootstrap-mrjob", "--no-output", *words, __file__])
    with job.make_runner() as runner:
        if not waits:
            runner._finish_run = lambda: None  # it has no option for that
        runner.run()


def dagster_emr(cluster: str, *, waits: bool) -> None:
    from dagster_aws.emr import EmrJobRunner

    runner = EmrJobRunner(region="us-east-1", check_cluster_every=1)
    step = runner.construct_step_dict_for_command("job", ["spark-submit", "job.py"])
    log = logging.getLogger("dagster")
    (step_id,) = runner.add_job_flow_steps(log, cluster, [step])
    while waits and not runner.is_emr_step_complete(log, cluster, step_id):
        time.sleep(1)


def dagster_pipes(application: str, *, waits: bool) -> None:
    import dagster
    from dagster_aws.pipes import PipesEMRServerlessClient

    params = {
        "applicationId": application,
        "executionRoleArn": ROLE,
        "jobDriver": {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}},
    }

    @dagster.op
    def job(context):  # type: ignore[no-untyped-def]  # noqa: ANN001,ANN202  Dagster reads annotations
        client = PipesEMRServerlessClient(poll_interval=1, forward_termination=False)
        if waits:
            client.run(context=context, start_job_run_params=params)
        else:
            client._start(context, params)  # what run() begins with

    @dagster.job
    def jobs() -> None:
        job()

    jobs.execute_in_process()


def aioboto3(queue: str, *, waits: bool) -> None:
    import aioboto3

    async def submit() -> None:
        async with aioboto3.Session().client("batch") as client:
            await client.submit_job(jobQueue=queue, **BATCH)
            if waits:
                await asyncio.sleep(WAIT)

    asyncio.run(submit())


def opentelemetry(queue: str, *, waits: bool) -> None:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    BotocoreInstrumentor().instrument(tracer_provider=provider)
    boto3_batch(queue, waits=False)
    assert [span.name for span in spans.get_finished_spans()] == ["Batch.SubmitJob"]
    sleep(waits=waits)


def ddtrace(queue: str, *, waits: bool) -> None:
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    seen = []

    class Keep(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            seen.extend(span.resource for span in trace)

    tracer.configure(trace_processors=[Keep()])
    patch(botocore=True, aiobotocore=True)
    boto3_batch(queue, waits=False)
    assert seen == ["batch.submitjob"]
    sleep(waits=waits)


def boto3_batch(queue: str, *, waits: bool) -> None:
    import boto3

    client: Any = boto3.client("batch")
    client.submit_job(jobQueue=queue, **BATCH)
    sleep(waits=waits)


def instrumented_before(queue: str, *, waits: bool) -> None:
    from botocore.client import BaseClient

    # Nobody else wraps it: whoever started this process has.
    assert hasattr(BaseClient._make_api_call, "__wrapped__")
    boto3_batch(queue, waits=waits)


def sleep(*, waits: bool) -> None:
    time.sleep(WAIT if waits else 0)


SERVICES: dict[Callable[..., None], str] = {
    awswrangler_emr: "emr",
    awswrangler_emr_steps: "emr",
    awswrangler_emr_serverless: "emr-serverless",
    luigi: "batch",
    mrjob: "emr",
    dagster_emr: "emr",
    dagster_pipes: "emr-serverless",
    aioboto3: "batch",
    opentelemetry: "batch",
    ddtrace: "batch",
    boto3_batch: "batch",
}
"""Where each of them starts its jobs."""
BY_NAME = {submit.__name__: submit for submit in (*SERVICES, instrumented_before)}
