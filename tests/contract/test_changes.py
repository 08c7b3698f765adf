"""What the mover changes on a cache through ARM, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from redismove.azure.caches import Caches as MoversCaches
from redismove.azure.session import Session
from tests.contract.conftest import GROUP, Caches

pytestmark = pytest.mark.contract


def test_switching_notifications_on_changes_nothing_else(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own model of an update sends defaults for all that is not named: it would open and close doors."""
    caches.make(
        careful={
            "enableNonSslPort": True,
            "publicNetworkAccess": "Disabled",
            "disableAccessKeyAuthentication": True,
            "minimumTlsVersion": "1.2",
            "redisConfiguration": {"aad-enabled": "true", "maxmemory-policy": "allkeys-lfu"},
        }
    )
    before = _properties(caches)
    for name, value in caches.cloud.env.items():
        monkeypatch.setenv(name, value)
    movers = MoversCaches(Session.from_environment())
    movers.set_notifications(caches.id("careful"), "KEA", timeout_s=60)
    after = _properties(caches)
    assert after["redisConfiguration"].pop("notify-keyspace-events") == "KEA"
    before["redisConfiguration"].pop("notify-keyspace-events", None)
    assert after == before


def _properties(caches: Caches) -> dict[str, Any]:
    properties: dict[str, Any] = caches.client.redis.get(GROUP, "careful").serialize(keep_readonly=True)["properties"]
    return properties
