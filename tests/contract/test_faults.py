"""Faults on request: each reaches the untouched client as the real thing would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError

from .conftest import GROUP, Caches, Cloud, body, refused


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud.start(tmp_path_factory.mktemp("faulty") / "home", "--admin")
    with cloud.cleanup:
        cloud.make_group()
        yield cloud


@pytest.fixture
def inject(faulty: Cloud) -> Iterator[Callable[..., None]]:
    def add(**fault: Any) -> None:
        answer = faulty.arm("POST", "/_local/faults", fault)
        assert answer.status_code == 201, answer.text

    yield add
    assert faulty.arm("DELETE", "/_local/faults").status_code == 204


@pytest.fixture(scope="module")
def caches(faulty: Cloud) -> Iterator[Caches]:
    caches = Caches(faulty)
    caches.make(a={}, b={"location": "westus2"})
    yield caches
    caches.close()


def test_it_is_off_unless_asked_for(cloud: Cloud) -> None:
    answer = cloud.arm("POST", "/_local/faults", {"kind": "cut"})
    assert answer.status_code == 404
    assert "--admin" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalServerError"), (503, "ServiceUnavailable")],
)
def test_status(faulty: Cloud, caches: Caches, inject: Callable[..., None], status: int, code: str) -> None:
    inject(kind="status", method="GET", path="redis/a$", status=status, retry_after_s=1)
    error = refused(lambda: caches.client.redis.get(GROUP, "a"))
    assert (error.status, error.code) == (status, code)
    assert caches.client.redis.get(GROUP, "a").name == "a", "it is over after one request"
    inject(kind="status", method="GET", path="redis/a$", status=status, retry_after_s=7, skip=1)
    caches.client.redis.get(GROUP, "a")
    assert faulty.arm("GET", caches_path(faulty, "a")).headers["Retry-After"] == "7"


def caches_path(cloud: Cloud, name: str) -> str:
    group = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
    return f"{group}/providers/Microsoft.Cache/redis/{name}"


@pytest.mark.parametrize("applied", [False, True])
def test_cut_connection_before_and_after_the_request_is_carried_out(
    faulty: Cloud, caches: Caches, inject: Callable[..., None], applied: bool
) -> None:
    before = caches.client.redis.list_keys(GROUP, "a").primary_key
    inject(kind="cut", method="POST", path="regenerateKey", applied=applied)
    with pytest.raises(ServiceResponseError):
        caches.client.redis.regenerate_key(GROUP, "a", {"keyType": "Primary"})
    after = caches.client.redis.list_keys(GROUP, "a").primary_key
    assert (after != before) is applied


def test_late_answer(caches: Caches, inject: Callable[..., None]) -> None:
    inject(kind="delay", path="listKeys", delay_s=0.5)
    started = time.monotonic()
    caches.client.redis.list_keys(GROUP, "a")
    assert time.monotonic() - started >= 0.5


def test_operation_that_fails(caches: Caches, inject: Callable[..., None]) -> None:
    inject(kind="operation", method="PUT", path="linkedServers", outcome="fail")
    with pytest.raises(HttpResponseError, match="Something went wrong"):
        caches.link("a", "b")
    assert caches.client.linked_server.get(GROUP, "a", "b").provisioning_state == "Failed"
    inject(kind="operation", method="DELETE", path="linkedServers", outcome="fail")
    with pytest.raises(HttpResponseError):  # 409 on the polling GET
        caches.unlink("a", "b")
    caches.unlink("a", "b")
    caches.link("a", "b")
    caches.unlink("a", "b")
    inject(kind="operation", method="PUT", path="redis/stillborn", outcome="fail")
    with pytest.raises(HttpResponseError):
        caches.client.redis.begin_create(GROUP, "stillborn", body()).result()
    assert caches.client.redis.get(GROUP, "stillborn").provisioning_state == "Failed"
    caches.client.redis.begin_delete(GROUP, "stillborn").result()


def test_operation_that_does_not_end_until_the_faults_are_taken_away(
    faulty: Cloud, caches: Caches, inject: Callable[..., None]
) -> None:
    inject(kind="operation", method="PATCH", path="redis/a$", outcome="never")
    poller = caches.client.redis.begin_update(GROUP, "a", {"tags": {"x": "y"}})
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert caches.client.redis.get(GROUP, "a").provisioning_state == "Updating"
        time.sleep(0.1)
    faulty.arm("DELETE", "/_local/faults")
    assert poller.result().provisioning_state == "Succeeded"


def test_an_answer_that_is_changed(faulty: Cloud, caches: Caches, inject: Callable[..., None]) -> None:
    sku = {"capacity": 5}
    inject(kind="answer", method="GET", path="redis/a$", count=2, body={"properties": {"sku": sku, "port": None}})
    for _ in range(2):
        seen = caches.client.redis.get(GROUP, "a")
        assert (seen.sku.name, seen.sku.capacity, seen.port) == ("Premium", 5, None)
    assert caches.client.redis.get(GROUP, "a").sku.capacity == 1, "only the answers were changed"
    inject(kind="answer", method="GET", path="redis/nobody$", body={"name": "nobody"})
    assert faulty.arm("GET", caches_path(faulty, "nobody")).json() == {"name": "nobody"}


def test_a_fault_must_be_well_formed(faulty: Cloud) -> None:
    for wrong in ({}, {"kind": "flood"}, {"kind": "cut", "path": "("}, {"kind": "cut", "count": 0}):
        assert faulty.arm("POST", "/_local/faults", wrong).json()["error"]["code"] == "InvalidFault"
