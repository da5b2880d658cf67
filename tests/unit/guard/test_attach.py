"""A guarded task is byte for byte what it is without a guard: it pickles, copies and compares as ever."""

from __future__ import annotations

import contextvars
import copy
import functools
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import boto3
import pytest
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.bases.operator import BaseOperator, ExecutorSafeguard

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import guard
from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.services.submissions import set_recorder
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Try, _guarded, cancelled, variables  # noqa: F401  fixtures

BY_VALUE = ("dill", "cloudpickle")


class Square(BaseOperator):
    """An operator that sends its own method to other processes."""

    def __init__(self, start: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def square(self, number: int) -> int:
        return number * number

    def execute(self, context: Any) -> list[int]:
        if self.start is None:
            return [self.square(number) for number in range(3)]
        method = multiprocessing.get_context(self.start)
        with ProcessPoolExecutor(1, mp_context=method) as pool:
            return list(pool.map(self.square, range(3)))


class Inheriting(Square):
    """Its methods come from another class."""


class Slotted(BaseOperator):
    """Takes no attributes but its own."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("on_kill", "resume_execution"):
            raise AttributeError(name)
        super().__setattr__(name, value)

    def execute(self, context: Any) -> str:
        return "done"


def python_task() -> BaseOperator:
    return PythonOperator(task_id="python", python_callable=len, op_args=["four"])


def decorated() -> BaseOperator:
    @task
    def function() -> int:
        return 4

    with DAG("dag", schedule=None):
        called: Any = function()
    operator: BaseOperator = called.operator
    operator.dag = None
    return operator


def mapped() -> BaseOperator:
    with DAG("dag", schedule=None):
        operator = Square.partial(task_id="mapped").expand(start=["fork"])
    unmapped: BaseOperator = operator.unmap({"start": None})
    unmapped.__dict__.pop("_dag", None)
    return unmapped


KINDS: dict[str, Callable[[], BaseOperator]] = {
    "own": lambda: Square(task_id="own"),
    "inheriting": lambda: Inheriting(task_id="inheriting"),
    "slotted": lambda: Slotted(task_id="slotted"),
    "python": python_task,
    "mapped": mapped,
}


@pytest.fixture(params=KINDS)
def operator(request: pytest.FixtureRequest) -> BaseOperator:
    return KINDS[request.param]()


@pytest.fixture
def install() -> Iterator[Callable[[BaseOperator], TaskGuard]]:
    def put(operator: BaseOperator) -> TaskGuard:
        ti = Try()
        ti.task = operator  # type: ignore[assignment]
        guarded = TaskGuard(ti, CANCEL)
        guarded.install()
        return guarded

    yield put
    detach()


def run(operator: BaseOperator) -> Any:
    """Execute as Airflow's task runner does."""
    context = contextvars.copy_context()
    context.run(ExecutorSafeguard.tracker.set, operator)
    return context.run(functools.partial(operator.execute, context={}))


Install = Callable[[BaseOperator], TaskGuard]


def test_the_instance_stays_as_it_was(operator: BaseOperator, install: Install) -> None:
    before, pickled, cls = dict(operator.__dict__), pickle.dumps(operator), type(operator)
    install(operator)
    assert operator.__dict__ == before
    assert pickle.dumps(operator) == pickled
    assert type(operator) is cls
    assert type(copy.deepcopy(operator)) is cls
    assert type(copy.copy(operator)) is cls


def test_its_methods_can_be_pickled_by_name(operator: BaseOperator, install: Install) -> None:
    install(operator)
    for method in (operator.execute, operator.on_kill, operator.resume_execution, type(operator).execute):
        assert pickle.loads(pickle.dumps(method)).__name__ == method.__name__


@pytest.mark.parametrize("name", BY_VALUE)
def test_by_value_picklers_take_it_along(name: str, install: Install) -> None:
    pickler = pytest.importorskip(name)

    class InTheDagFile(Square):
        """A class that no module has."""

        def execute(self, context: Any) -> list[int]:
            return [9]

    local = InTheDagFile(task_id="local")
    before = outcome(pickler, local)
    guarded = install(local)
    assert hasattr(InTheDagFile.execute, "__wrapped__")
    assert outcome(pickler, local) == before
    assert guarded.task is local


def outcome(pickler: Any, operator: BaseOperator) -> Any:
    """What becomes of it elsewhere. Not every pickler can read back every part of an operator."""
    pickled = pickler.dumps(operator)
    try:
        there = pickler.loads(pickled)
    except RecursionError:
        return RecursionError
    return sorted(vars(there)), sorted(vars(type(there))), there.execute({})


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_it_works_in_pools_of_processes(start: str, install: Install) -> None:
    operator = Square(task_id="pool", start=start)
    install(operator)
    assert run(operator) == [0, 1, 4]


def test_the_guard_is_asked_for_its_own_task_only(cloud: LocalCloud, install: Install) -> None:
    class Submits(BaseOperator):
        def execute(self, context: Any) -> None:
            batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
            batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
            raise ValueError("after submitting")

    ours, other = Submits(task_id="ours"), Submits(task_id="other")
    guarded = install(ours)
    set_recorder(None)
    with pytest.raises(ValueError, match="after"):
        run(other)
    assert guarded.parts.ledger.is_empty
    set_recorder(guarded.parts.recorder)
    with pytest.raises(ValueError, match="after"):
        run(ours)
    assert sorted(cancelled(cloud)) == [False, True]


def test_the_class_is_as_it_was_when_the_task_is_over(install: Install) -> None:
    names = ("execute", "on_kill", "resume_execution")
    before = [dict(vars(cls)) for cls in Inheriting.__mro__]
    guarded = install(operator := Inheriting(task_id="over"))
    assert [getattr(Inheriting, name) for name in names] != [getattr(BaseOperator, name) for name in names]
    run(operator)
    guarded.succeeded()
    assert [dict(vars(cls)) for cls in Inheriting.__mro__] == before


def test_a_method_on_the_instance_is_guarded_too(install: Install) -> None:
    operator = Slotted(task_id="own")
    killed: list[int] = []
    operator.__dict__["on_kill"] = lambda: killed.append(1)
    guarded = install(operator)
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
    batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    with pytest.raises(Killed):
        operator.on_kill()
    assert killed == [1]
    assert guarded.parts.canceller.wait_for("ended", 20)
    detach()
    operator.on_kill()
    assert killed == [1, 1]


def test_a_method_that_is_no_function_is_called_as_without_a_guard(install: Install) -> None:
    """A ``functools.partial`` gets no instance (before Python 3.14), nor does any other object."""
    cleaned: list[str] = []

    class Cleaner:
        def __call__(self) -> None:
            cleaned.append("up")

    class Cleans(Slotted):
        on_kill: Any = Cleaner()

        def execute(self, context: Any) -> str:
            self.on_kill()
            return "done"

    install(operator := Cleans(task_id="cleans"))
    assert run(operator) == "done"
    assert cleaned == ["up"]


def test_a_forked_childs_error_does_not_cancel_the_parents_jobs(cloud: LocalCloud, install: Install) -> None:
    class Forks(BaseOperator):
        def execute(self, context: Any) -> int:
            batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
            batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
            child = os.fork()
            if child == 0:
                raise ChildProcessError
            os.waitpid(child, 0)
            return child

    install(operator := Forks(task_id="forks"))
    try:
        run(operator)
    except ChildProcessError:
        os._exit(0)  # the child, which has come all the way out of execute
    assert cancelled(cloud) == [False]
    assert cloud.journal.count("batch", "TerminateJobs") == 0


class TestSwitched:
    """``guard(target)``, by which the user asks for a mark on the task."""

    def test_an_operator_can_be_pickled(self) -> None:
        operator = guard(Square(task_id="switched"))
        assert pickle.loads(pickle.dumps(operator.square))(3) == 9

    def test_what_a_mapped_operator_becomes_can_be_pickled(self) -> None:
        with DAG("dag", schedule=None):
            operator = guard(Square.partial(task_id="mapped").expand(start=["fork"]), on=False)
        unmapped: Any = operator.unmap({"start": None})
        unmapped.__dict__.pop("_dag", None)
        there: Any = pickle.loads(pickle.dumps(unmapped))
        assert there.square(3) == 9
        assert there.remote_jobs_guard is False
        assert isinstance(there, Square)
        assert copy.copy(unmapped).square(2) == 4
        assert type(unmapped).__name__ == "Square"

    def test_a_decorator_with_and_without_arguments(self) -> None:
        with DAG("dag", schedule=None):
            off, on = guard(on=False)(task(len_of)), guard(task(len_of))
            switches: list[Any] = [off("four"), on("four")]
        assert [each.operator.remote_jobs_guard for each in switches] == [False, True]

    def test_a_task_function_can_be_pickled(self) -> None:
        with DAG("dag", schedule=None):
            called: Any = guard(task(len_of))("four")
        operator = called.operator
        assert operator.remote_jobs_guard is True
        operator.__dict__.pop("_dag", None)
        assert operator.python_callable("four") == 4


def len_of(text: str) -> int:
    return len(text)
