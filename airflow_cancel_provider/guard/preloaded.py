"""Find the sessions and clients of botocore that were made before the capture, by preloaded modules."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any


def sessions() -> list[Any]:
    """All existing sessions, including aiobotocore's. Import botocore.session before."""
    from botocore.session import Session

    return _instances(list(_with_subclasses(Session)))


def clients(services: Collection[str]) -> list[Any]:
    """All existing clients of some services."""
    from botocore.client import BaseClient

    # Each client has a class of its own.
    found = _instances(list(_with_subclasses(BaseClient)))
    return [each for each in found if each.meta.service_model.service_name in services]


def _with_subclasses(base: type) -> Iterator[type]:
    yield base
    subclasses: list[type] = base.__subclasses__()
    for each in subclasses:
        yield from _with_subclasses(each)


def _instances(classes: list[type]) -> list[Any]:
    # type(), not isinstance(), which would load lazy objects.
    with _unfrozen():
        referrers: list[Any] = gc.get_referrers(*classes)
    return [one for one in referrers if type(one) in classes]


@contextmanager
def _unfrozen() -> Iterator[None]:
    """Unfreeze the garbage collector: it does not find objects that the executor froze before it forked."""
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()
    try:
        yield
    finally:
        if frozen:
            gc.freeze()
