"""Whether the guard is loaded in this process, and has what it needs on this host."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.reaper.places import places
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.setting_options import OPTIONS
from airflow_cancel_provider.settings import SECTION, Settings, use_quotas
from airflow_cancel_provider.version_compat import conf

_PLUGIN, _LISTENER = "airflow_cancel_provider", "airflow_cancel_provider.plugin.listener"
"""Name of the plugin, and the module that listens: this process loads them by Airflow alone."""


def process_checks() -> Iterator[Check]:
    """All of them."""
    yield _plugin()
    yield _listener()
    yield from _settings()
    yield _kernel()
    yield _executor()
    yield _xcom_backend()
    yield _remote_logging()


def _plugin() -> Check:
    from airflow import plugins_manager

    plugins_manager.ensure_plugins_loaded()  # type: ignore[no-untyped-call, unused-ignore]
    info = plugins_manager.get_plugin_info(["name"])
    if any(each.get("name") == _PLUGIN for each in info):
        return Check("plugin", Result.OK, "Airflow has loaded it.")
    return Check(
        "plugin",
        Result.BROKEN,
        "Airflow has not loaded it: install airflow-cancel-provider where Airflow itself is installed, "
        "and see airflow plugins, which shows import errors.",
    )


def _listener() -> Check:
    from airflow.listeners.listener import get_listener_manager

    hooks = get_listener_manager().hook.on_task_instance_running.get_hookimpls()
    if any(getattr(each.plugin, "__name__", "") == _LISTENER for each in hooks):
        return Check("listener", Result.OK, "Airflow calls it when a task starts and when it ends.")
    return Check("listener", Result.BROKEN, "Airflow does not call it: no task is guarded in such a process.")


def _settings() -> Iterator[Check]:
    try:
        settings = Settings.read()
        use_quotas()
    except InvalidInput as error:
        yield Check("settings", Result.BROKEN, str(error))
        return
    unknown = sorted(_names() - OPTIONS.keys())
    if not settings.enabled:
        yield Check("settings", Result.LIMIT, f"[{SECTION}] enabled is False: no task is guarded.")
    elif unknown:
        yield Check("settings", Result.LIMIT, f"[{SECTION}] has no option {', '.join(unknown)}: ignored.")
    else:
        yield Check("settings", Result.OK, f"[{SECTION}] can be read; the guard is on.")
    yield _deployment(settings)
    yield _carriers(settings)
    yield _places(settings)


def _names() -> set[str]:
    """What is set. Before Airflow 3.3 ``conf.getsection`` reads no section that only the environment has."""
    prefix = f"AIRFLOW__{SECTION.upper()}__"
    names = {name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)}
    return names.union(conf.options(SECTION) if conf.has_section(SECTION) else ())


def _deployment(settings: Settings) -> Check:
    what = f"{settings.deployment_name or 'no name'} ({settings.deployment} in labels)"
    if settings.has_own_name:
        return Check("deployment", Result.OK, what)
    return Check(
        "deployment",
        Result.LIMIT,
        f"{what} may be another Airflow's, too, so no reaper starts: set [cancel_provider] deployment.",
    )


def _carriers(settings: Settings) -> Check:
    if not settings.labels:
        return Check(
            "labels",
            Result.LIMIT,
            "[cancel_provider] labels is False: the reaper finds nothing, and a submission whose answer was "
            "lost can't be found.",
        )
    without = [SERVICES[name] for name, carrier in settings.carriers.items() if carrier == "none"]
    if without:
        titles, names = (
            ", ".join(texts)
            for texts in ([row.title for row in without], [f"{row.package}_label" for row in without])
        )
        return Check(
            "labels",
            Result.LIMIT,
            f"Jobs of {titles} carry no label ([cancel_provider] {names} is none): the reaper does not find "
            "them.",
        )
    return Check("labels", Result.OK, "Jobs of every service carry one.")


def _places(settings: Settings) -> Check:
    if settings.reaper_places:
        try:
            places(settings.reaper_places)
        except InvalidInput as error:
            return Check("reaper", Result.BROKEN, f"[cancel_provider] reaper_places: {error}")
        return Check("reaper", Result.OK, f"It looks at {', '.join(settings.reaper_places)}, where one runs.")
    return Check(
        "reaper",
        Result.LIMIT,
        "[cancel_provider] reaper_places is empty: nobody finds the jobs of a lost host, of a container that "
        "ended with its first process, or of a Dag run that was deleted. Set it, and run airflow remote-jobs "
        "reap --loop, or the Dag.",
    )


def _kernel() -> Check:
    if not sys.platform.startswith("linux"):
        return Check(
            "kernel", Result.LIMIT, f"{sys.platform}: the sentinel needs Linux; tasks run without it."
        )
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return Check(
            "kernel",
            Result.LIMIT,
            f"pidfd_open does not work here ({error}): it needs Linux 5.3. Sentinels look for the "
            "end of their tasks once a second instead.",
        )
    return Check("kernel", Result.OK, f"Linux {os.uname().release} has pidfd_open.")


def _executor() -> Check:
    name = str(conf.get("core", "executor", fallback=""))
    if "Kubernetes" in name or "Ecs" in name or "Batch" in name:
        return Check(
            "executor",
            Result.LIMIT,
            f"{name}: a container that is killed as a whole takes the sentinel along; the reaper cancels.",
        )
    return Check("executor", Result.OK, f"{name}: the sentinel outlives a task that is killed, not its host.")


def _xcom_backend() -> Check:
    name = str(conf.get("core", "xcom_backend", fallback=""))
    if name.rpartition(".")[2] in ("", "BaseXCom"):
        return Check("XCom backend", Result.OK, "It is Airflow's own.")
    return Check(
        "XCom backend",
        Result.LIMIT,
        f"{name}: jobs whose record it keeps elsewhere, or in another form, are not listed, and the API "
        "server can't cancel them; the reaper does.",
    )


def _remote_logging() -> Check:
    if conf.getboolean("logging", "remote_logging", fallback=False):
        return Check(
            "remote logging",
            Result.LIMIT,
            "It is on: what the sentinel writes after a task was killed stays in the worker's log folder "
            "where the log was uploaded before.",
        )
    return Check("remote logging", Result.OK, "It is off: the sentinel's lines are in the log folder.")
