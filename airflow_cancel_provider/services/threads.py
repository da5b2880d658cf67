"""Calls side by side, each in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


def side_by_side(
    function: Callable[[T], U], items: Iterable[T], most: int, at_first: int | None = None
) -> Iterator[U]:
    """Results in the order of the items, so many being worked on at a time, each in a thread.

    Reads no further than that; an error is raised where its result would be. If the caller stops
    iterating, or the process ends, calls that are under way are abandoned.

    :param most: items that are worked on at a time.
    :param at_first: fewer until the first result is there: it may say that the others are not worth it.
    """
    under_way: deque[Future[U]] = deque()
    at_once = at_first or most
    for item in items:
        under_way.append(Future())
        (fulfil if at_once == 1 else in_background)(under_way[-1], function, item)
        if len(under_way) == at_once:
            yield under_way.popleft().result()
            at_once = most
    while under_way:
        yield under_way.popleft().result()


def in_background(future: Future[U], function: Callable[[T], U], item: T) -> None:
    """Have a thread give a future its result. If the process ends, the call is abandoned.

    Where no thread can be started, as a limit is reached, the result is there when this returns.
    """
    try:
        Thread(target=fulfil, args=(future, function, item), daemon=True).start()
    except RuntimeError:
        fulfil(future, function, item)


def fulfil(future: Future[U], function: Callable[P, U], *args: P.args, **kwargs: P.kwargs) -> None:
    """Give a future its result, or the error of the call. No call is made where it was cancelled before."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
        future.set_exception(error)
