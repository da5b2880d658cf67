"""The console's address of each job, in the partition of its region, or none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.links.console import LINKED, RemoteJobLink, console_url, remote_job_links

UUID = "5b1f0000-0000-0000-0000-000000000000"


def batch_job(region: str | None, id: str = UUID) -> RemoteJob:
    return RemoteJob.of("batch", id, conn_id="aws_default", region=region)


@pytest.mark.parametrize(
    "region, host",
    [
        ("us-east-1", "us-east-1.console.aws.amazon.com"),
        ("eu-central-2", "eu-central-2.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ("eusc-de-east-1", "eusc-de-east-1.console.amazonaws-eusc.eu"),
    ],
)
def test_each_partition_has_its_domain(region: str, host: str) -> None:
    assert console_url(batch_job(region)) == f"https://{host}/batch/home?region={region}#jobs/detail/{UUID}"


@pytest.mark.parametrize(
    "region",
    [None, "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "mars-north-1", "x"],
)
def test_a_region_without_a_console_that_is_known_has_no_link(region: str | None) -> None:
    assert console_url(batch_job(region)) == ""


def test_each_job_has_a_page_of_its_own_where_the_console_has_one() -> None:
    run = RemoteJob.of("emr-serverless", "00f2", scope="00f1", region="us-east-1")
    glue = RemoteJob.of("glue", "jr_1", scope="etl/1 ü", region="us-east-1")
    step = RemoteJob.of("emr", "s-3BYY", scope="j-2AXX", region="us-east-1")
    base = "https://us-east-1.console.aws.amazon.com/emr/home?region=us-east-1"
    assert console_url(glue).endswith(".com/gluestudio/home?region=us-east-1#/job/etl%2F1%20%C3%BC/run/jr_1")
    assert console_url(run) == f"{base}#/serverless/applications/00f1/job-runs/00f2"
    container = RemoteJob.of("emr-containers", "0f2", scope="0f1", region="us-east-1")
    assert console_url(container) == f"{base}#/eks/clusters/0f1"
    assert console_url(step) == f"{base}#/clusterDetails/j-2AXX"
    assert console_url(batch_job("us-east-1", f"{UUID}:7")).endswith(f"#jobs/detail/{UUID}:7")
    assert console_url(batch_job("us-east-1", f"{UUID}#1")).endswith(f"#jobs/detail/{UUID}%231")
    assert console_url(RemoteJob.of("mrs", "job", scope="cluster", region="eu-de")) == ""


def test_a_few_jobs_have_a_link_each() -> None:
    jobs = [batch_job("us-east-1", UUID[:-1] + str(number)) for number in range(5)]
    links = remote_job_links()
    assert [link.name for link in links] == ["Remote job", "Remote job 2", "Remote job 3"]
    assert len({link.xcom_key for link in links}) == len(set(links)) == LINKED
    task = SimpleNamespace(jobs=jobs)
    assert [link.get_link(task, ti_key=None) for link in links] == [console_url(job) for job in jobs[:LINKED]]
    task.jobs = jobs[:1]
    assert [bool(link.get_link(task, ti_key=None)) for link in links] == [True, False, False]
    assert RemoteJobLink() == links[0] != links[1]
