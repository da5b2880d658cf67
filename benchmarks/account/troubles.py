"""What goes wrong in an account for a while: outages, lost connections, credentials that expire."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

from benchmarks.account.service import Refused

OUTAGE = Refused("ServiceUnavailableException", "The service is unavailable.", 503)
EXPIRED = Refused("ExpiredTokenException", "The security token included in the request is expired")
THROTTLED = Refused("ThrottlingException", "Rate exceeded")


class Troubles:
    """Which troubles there are now. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, float]] = {}
        self._expired: set[str] = set()
        self.met: Counter[str] = Counter()

    def begin(self, kind: str, share: float = 1.0, seconds: float = 0.0, key: str = "") -> dict[str, Any]:
        """Begin a trouble; how many calls met each kind so far.

        :param kind: ``outage``, ``throttled``, ``reset``, or ``expired``, which is for good.
        :param share: of the calls that meet it.
        :param key: the access key that expires.
        """
        with self._lock:
            if key:
                self._expired.add(key)
            self._until[kind] = (time.time() + seconds, share)
            return dict(self.met)

    def drops(self) -> bool:
        """Whether a call gets no answer."""
        return self._meets("reset")

    def check(self, key: str) -> None:
        """Let a call through.

        :raises Refused: it meets a trouble.
        """
        if key in self._expired:
            self.met["expired"] += 1
            raise EXPIRED
        if self._meets("outage"):
            raise OUTAGE
        if self._meets("throttled"):
            raise THROTTLED

    def _meets(self, kind: str) -> bool:
        until, share = self._until.get(kind, (0.0, 0.0))
        meets = time.time() < until and random.random() < share
        self.met[kind] += meets
        return meets
