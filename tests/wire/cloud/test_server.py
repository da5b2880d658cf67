"""What an earlier test has left behind does not reach the next one."""

from __future__ import annotations

import pytest
import requests

from tests.cloud.server import LocalCloud


def test_the_old_address_is_not_heard_any_more(cloud: LocalCloud) -> None:
    with requests.Session() as kept_open:
        old = cloud.url
        assert kept_open.get(f"{old}/v1/jobs").status_code == 404
        cloud.renew()
        assert cloud.url != old
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                kept_open.get(f"{old}/v1/jobs")
    assert cloud.journal.count() == 0
