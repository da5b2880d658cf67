"""Every code block of the documents runs as it is pasted, or is parsed by what reads it."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.cli import cli_parser

from airflow_cancel_provider.cli import get_parser
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.dag import _extra
from airflow_cancel_provider.reaper.judge import Decision, DecisionKind, Found
from airflow_cancel_provider.reaper.report import Orphan, Report
from airflow_cancel_provider.setting_options import OPTIONS
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block, blocks_in

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

RUN = [block for block in blocks_in("python") if not block.reason]
DAGS = [block for block in RUN if "with DAG(" in block.text]
MODULES = [block for block in RUN if "with DAG(" not in block.text]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
READERS: dict[str, Callable[[str], Any]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser().read_string(text),
}
UNREAD = {"text", "console", "bash", "dockerfile"}
"""Languages without a reader: output; and what other tests here see to."""


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {block.language for block in BLOCKS} <= {*READERS, *UNREAD}
    # A paragraph that ends so begins a block without a language.
    unnamed = [
        f"{page.name}: {line}"
        for page in PAGES
        if page.suffix == ".rst"
        for line in page.read_text().splitlines()
        if line.endswith("::") and not line.lstrip().startswith("..")
    ]
    assert unnamed == []


@pytest.mark.parametrize("block", blocks_in(*READERS), ids=str)
def test_it_can_be_read(block: Block) -> None:
    READERS[block.language](block.text)


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_a_dag_is_loaded_without_errors(block: Block, tmp_path: Path) -> None:
    (tmp_path / "pasted.py").write_text(block.text)
    bag = DagBag(tmp_path, safe_mode=False)
    assert bag.import_errors == {}
    assert bag.dags
    assert all(dag.tasks for dag in bag.dags.values())


@pytest.mark.parametrize("block", MODULES, ids=str)
def test_a_module_runs_with_its_tests(block: Block) -> None:
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(compile(block.text, str(block), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()


@pytest.mark.parametrize("block", blocks_in("ini"), ids=str)
def test_settings_are_ours(block: Block) -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(block.text)
    assert parsed.sections() == ["cancel_provider"]
    assert set(parsed["cancel_provider"]) <= set(OPTIONS)


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_a_policy_allows_what_services_have(block: Block) -> None:
    policy = json.loads(block.text)
    for statement in policy.get("Statement", []):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            prefix, _, operation = action.partition(":")
            assert operation in operations_of(prefix)


@cache
def operations_of(prefix: str) -> set[str]:
    """The operations of a service, by the prefix that IAM has for it."""
    from botocore.loaders import Loader

    name = {"elasticmapreduce": "emr"}.get(prefix, prefix)
    return set(Loader().load_service_model(name, "service-2")["operations"])


COMPOSE_SERVICES = {
    f"airflow-{name}" for name in ("apiserver", "scheduler", "dag-processor", "triggerer", "worker")
}
"""Those of Airflow's own ``docker-compose.yaml`` that run our code."""
COMPOSE_KEYS = {
    *("build", "image", "environment", "stop_grace_period"),
    *("extends", "command", "healthcheck", "restart"),
}
CHART_KEYS = {"airflowVersion": (), "images": ("airflow",), "config": (), "scheduler": ("extraContainers",)}
"""Keys of ``values.yaml`` of Airflow's own chart, and below them."""
CHART_SECRETS = {
    ('{{ include "airflow_metadata_secret" . }}', "connection"),
    ('{{ include "fernet_key_secret" . }}', "fernet-key"),
}
"""As the chart's own containers have them: the names differ by version and release."""
CONTAINER_KEYS = {"name", "image", "args", "env", "volumeMounts"}
"""Of a container in Kubernetes."""


def yaml_of(page: str, key: str) -> dict[str, Any]:
    """The only block of a page that has a key."""
    parsed = [yaml.safe_load(each.text) for each in blocks_in("yaml") if each.page.name == page]
    (found,) = [each for each in parsed if key in each]
    return dict(found)


def test_each_yaml_block_is_checked_below() -> None:
    assert [each.page.name for each in blocks_in("yaml")] == ["deploying.rst", "deploying.rst", "metrics.rst"]


def test_compose_file_goes_beside_airflows_own() -> None:
    parsed = yaml_of("deploying.rst", "services")
    services = dict(parsed.pop("services"))
    assert all(key.startswith("x-") for key in parsed)
    for service in services.values():
        assert set(service) <= COMPOSE_KEYS
        assert all(name.startswith("AIRFLOW__CANCEL_PROVIDER__") for name in service["environment"])
        assert {name.rpartition("__")[2].lower() for name in service["environment"]} <= set(OPTIONS)
    reaper = services.pop("airflow-remote-jobs-reaper")
    assert set(services) == COMPOSE_SERVICES
    assert reaper["extends"]["service"] in services
    understand(["airflow", *shlex.split(reaper["command"])])


def test_chart_values_are_the_charts() -> None:
    values = yaml_of("deploying.rst", "scheduler")
    assert set(values) <= set(CHART_KEYS)
    for key, below in CHART_KEYS.items():
        assert not below or set(values[key]) <= set(below)
    assert set(values["images"]["airflow"]) <= {"repository", "tag"}
    assert values["images"]["airflow"]["tag"] == values["airflowVersion"]
    assert set(values["config"]) == {"cancel_provider"}
    assert set(values["config"]["cancel_provider"]) <= set(OPTIONS)
    for container in values["scheduler"]["extraContainers"]:
        assert set(container) <= CONTAINER_KEYS
        understand(container["args"])
        secrets = [each["valueFrom"]["secretKeyRef"] for each in container["env"]]
        assert {(each["name"], each["key"]) for each in secrets} == CHART_SECRETS


def test_alerts_are_about_metrics_that_are_sent() -> None:
    listed = (ROOT / "docs" / "metrics.rst").read_text().replace(".", "_")
    sent = {f"remote_jobs_{gauge}" for gauge in Report("blue").gauges}
    sent |= set(re.findall(r"``(remote_jobs_cancel_[a-z_]+)_<layer>_<service>``", listed))
    (group,) = yaml_of("metrics.rst", "groups")["groups"]
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "annotations"}
        (name,) = re.findall(r"airflow_(remote_jobs_[a-z_]+?)(?:_\.\+|\[)", rule["expr"])
        assert name in sent


def test_a_dag_for_orphans_reads_what_the_reaper_writes() -> None:
    (block,) = [each for each in DAGS if each.page.name == "reaper.rst"]
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(compile(block.text, str(block), "exec"), names)
    job = RemoteJob("emr://aws_default@us-east-1/j-1/s-1")
    owner = OwnerState(TryPhase.FAILED, task="dag / run / task try 1", state="failed")
    decision = Decision(DecisionKind.ORPHAN, str(owner))
    found = Found(JobStatus(job, JobState.RUNNING), owner, decision, datetime.now(UTC))
    report = Report("blue", orphans=[Orphan(found)])
    asset = names["Asset"](names["ORPHANS"])
    events = {asset: [SimpleNamespace(extra=_extra(report.as_json()))]}
    lines = names["notify"].function(triggering_asset_events=events)
    assert lines == [f"{job} of dag / run / task try 1: found ({owner})"]


@pytest.mark.parametrize("block", blocks_in("console"), ids=str)
def test_commands_are_understood(block: Block) -> None:
    assert block.commands
    for words in block.commands:
        understand(words)


def understand(words: list[str]) -> None:
    """Fail unless the program that a command line calls would take its words."""
    match words:
        case ["airflow-remote-jobs", *rest] | ["airflow", "remote-jobs", *rest]:
            get_parser().parse_args([word for word in rest if word != "..."])
        case ["airflow", *rest]:
            cli_parser.get_parser().parse_args(rest)
        case ["make", target, *_]:
            assert target in TARGETS
        case ["pip", "install", package]:
            assert package.partition("[")[0] == "airflow-cancel-provider"
        case _:
            pytest.fail(f"no test knows {words[0]}")


@pytest.mark.parametrize("block", blocks_in("bash"), ids=str)
def test_a_script_has_no_syntax_error(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_what_is_not_run_is_little() -> None:
    assert [str(block) for block in BLOCKS if block.reason] == [
        str(block) for block in BLOCKS if block.reason and len(block.reason) > 20
    ]
    assert len([block for block in BLOCKS if block.reason]) <= 3
