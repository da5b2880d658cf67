"""Faults of hosts, of their network and of the broker."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from tests.matrix.phases import Group
from tests.matrix_celery.cells import FIRST, SECOND
from tests.matrix_celery.ground import CeleryGround
from tests.matrix_celery.groups import on_first, side_by_side, strike, succeed

BLIP_SECONDS = 3.0
"""Less than the three heartbeats after which a supervisor gives its task up."""
CUT_SECONDS = 60.0
SETTLED_SECONDS = 15.0
"""After which an outage that is over has done what it does."""


def host_lost(ground: CeleryGround, group: Group) -> None:
    """Pull a host's cable, then kill all on it, sentinels too."""
    victims, host = on_first(group), ground.hosts[FIRST]
    ground.workers.take(SECOND)
    ports = [urlsplit(url).port or 0 for url in (ground.cloud.url, ground.airflow.url)]
    if not all(host.can_reach(port) for port in ports):
        raise RuntimeError(f"{FIRST} can't reach the cloud and Airflow in the first place")
    host.cut()
    strike(victims)
    if any(host.can_reach(port) for port in ports):
        raise RuntimeError(f"{FIRST} still reaches the cloud or Airflow")
    host.kill_all()
    ground.workers.bury(FIRST)


def cut_off(ground: CeleryGround, group: Group) -> None:
    """Pull a host's cable for longer than Airflow waits, and put it back: its sentinels are there yet."""
    victims, host = on_first(group), ground.hosts[FIRST]
    host.cut()
    strike(victims)
    time.sleep(CUT_SECONDS)
    host.mend()


def blip(ground: CeleryGround, group: Group) -> None:
    """Pull a host's cable for a moment: its tasks go on."""
    victims, host = on_first(group), ground.hosts[FIRST]
    host.cut()
    time.sleep(BLIP_SECONDS)
    host.mend()
    time.sleep(SETTLED_SECONDS)
    side_by_side(succeed, victims)
    strike(victims)


def broker(ground: CeleryGround, group: Group) -> None:
    """Kill the broker, which forgets all, and start it again: tasks at work do not need it."""
    victims = on_first(group)
    ground.broker.kill()
    time.sleep(BLIP_SECONDS)
    ground.broker.start()
    time.sleep(SETTLED_SECONDS)
    side_by_side(succeed, victims)
    strike(victims)
