"""The parts of Airflow's REST API that tests and the demo use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import requests


class AirflowRest:
    """A client for one Airflow with the simple auth manager.

    :param user: name and password; None where it lets everybody in.
    """

    def __init__(self, url: str, user: tuple[str, str] | None = None) -> None:
        self.url = url
        self._user = user
        self.token = ""
        self._session = requests.Session()
        self._session.trust_env = False
        self._one_change_at_a_time = threading.Lock()
        self._seen: set[str] = set()
        """Dags that Airflow has read."""

    def log_in(self) -> None:
        """Get a token."""
        if self._user is None:
            answer = self._session.get(f"{self.url}/auth/token", timeout=10)
        else:
            body = dict(zip(("username", "password"), self._user, strict=True))
            answer = self._session.post(f"{self.url}/auth/token", json=body, timeout=10)
        answer.raise_for_status()
        self.token = answer.json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call; raises with the server's words when it is refused.

        Two changes at the same time can lock each other out where the database is SQLite. Under load the
        server may say "Database error" of a read, once in a thousand: it is asked again.
        """
        with contextlib.nullcontext() if method == "GET" else self._one_change_at_a_time:
            answer = self._session.request(method, f"{self.url}/api/v2/{path}", timeout=60, **options)
        if method == "GET" and answer.status_code == requests.codes.server_error:
            time.sleep(1)
            answer = self._session.request(method, f"{self.url}/api/v2/{path}", timeout=60, **options)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def add_connection(self, connection: Mapping[str, Any]) -> None:
        """Store a connection in the database, as the form in the UI does; one that is there is replaced."""
        conn_id = connection["connection_id"]
        known = self.call("GET", "connections?limit=1000")["connections"]
        if conn_id in {each["connection_id"] for each in known}:
            self.call("DELETE", f"connections/{conn_id}")
        self.call("POST", "connections", json=dict(connection))

    def get_ui(self, path: str) -> Any:
        """Read from the API that Airflow's own pages use."""
        answer = self._session.get(f"{self.url}/ui/{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def wait_for_dags(self, *dag_ids: str, timeout: float = 240) -> None:
        """Wait until Airflow has read these Dags, and unpause them."""
        deadline = time.monotonic() + timeout
        while missing := self._missing(dag_ids):
            if time.monotonic() > deadline:
                errors = [e["stack_trace"] for e in self.call("GET", "importErrors")["import_errors"]]
                raise RuntimeError(f"Airflow did not read {missing}: {errors}")
            time.sleep(0.5)
        for dag_id in dag_ids:
            self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def _missing(self, dag_ids: Iterable[str]) -> set[str]:
        """Those that Airflow has not read. All stories ask, and the list takes it long: seen once is seen."""
        if missing := set(dag_ids) - self._seen:
            self._seen |= self._known_dags()
        return missing - self._seen

    def _known_dags(self) -> set[str]:
        """Dags that Airflow has read; it names at most 100 of them at a time."""
        known: set[str] = set()
        while True:
            page = self.call("GET", f"dags?limit=100&order_by=dag_id&offset={len(known)}")["dags"]
            before = len(known)
            known |= {dag["dag_id"] for dag in page}
            # One that was added meanwhile may have moved the others on: the next look sees it.
            if len(known) == before:
                return known

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run, once Airflow has read the Dag; return the run's id."""
        body = {"logical_date": None, "conf": conf or {}}
        if self._missing([dag_id]):
            self.wait_for_dags(dag_id)
        run: str = self.call("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run."""
        state: str = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout: float = 400) -> str:
        """Wait until a run has ended; return its state."""
        deadline = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in ("success", "failed"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} {run_id} is {state}: {self.task_states(dag_id, run_id)}")
            time.sleep(1)
        return state

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        tasks: list[dict[str, Any]] = self.call("GET", path)["task_instances"]
        return tasks

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """State of each task of a run, mapped ones as ``task[index]``."""
        return {_name(task): task["state"] for task in self.tasks(dag_id, run_id)}

    def wait_for_task(
        self, dag_id: str, run_id: str, task_id: str, states: set[str], *, timeout: float = 240
    ) -> dict[str, Any]:
        """Wait until a task is in one of these states; return the task instance."""
        deadline = time.monotonic() + timeout
        while True:
            found = [t for t in self.tasks(dag_id, run_id) if _name(t) == task_id]
            if found and found[0]["state"] in states:
                return found[0]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{task_id} never was {states}: {self.task_states(dag_id, run_id)}")
            time.sleep(0.5)

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1
    ) -> Any:
        """One XCom value."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"deserialize": "false", "map_index": map_index})["value"]

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task as failed, success or skipped, as a person would."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task, as a person would."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "only_running": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"dags/{dag_id}/clearTaskInstances", json=body)

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """A task's log, as text."""
        lines = self._log_lines(dag_id, run_id, task_id, try_number)
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else line for line in lines)

    def logged_at(self, dag_id: str, run_id: str, task_id: str, words: str) -> float | None:
        """When a task's first try logged a line that begins with these words, as epoch seconds."""
        for line in self._log_lines(dag_id, run_id, task_id, 1):
            if isinstance(line, dict) and str(line.get("event")).startswith(words):
                at = datetime.fromisoformat(line["timestamp"])
                return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()  # Airflow 3.0 names no zone
        return None

    def error(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> tuple[str, str]:
        """Type and text of the exception that ended a task, from its log."""
        for line in reversed(self._log_lines(dag_id, run_id, task_id, try_number)):
            if isinstance(line, dict) and line.get("error_detail"):
                # The first is the one that was raised, those after it are its causes.
                raised = line["error_detail"][0]
                return raised["exc_type"], raised["exc_value"]
        raise LookupError(f"no exception in the log of {dag_id} {run_id} {task_id}")

    def _log_lines(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[Any]:
        task_id, _, index = task_id.removesuffix("]").partition("[")
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        params = {"full_content": "true", "map_index": index or "-1"}
        answer = self.call("GET", path, params=params, headers={"Accept": "application/json"})
        content: list[Any] = answer["content"]
        return content


def _name(task: dict[str, Any]) -> str:
    index = task["map_index"]
    return f"{task['task_id']}[{index}]" if index >= 0 else str(task["task_id"])
