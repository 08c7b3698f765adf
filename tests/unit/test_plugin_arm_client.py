"""The provider stand-in's calls to ARM: operations, retries, refusals, stop, sign-in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localazure.plugin.arm_client import ArmClient
from localazure.plugin.errors import (
    ArmError,
    Canceled,
    ConfigurationError,
    NotFound,
    OperationFailed,
    ProviderError,
    SignInError,
    TimedOut,
    Unreachable,
)
from localazure.plugin.identity import Credential, Settings, read_cloud
from localazure.plugin.transport import Stop, Transport
from tests.support.fake_arm import FakeArm, HurriedStop, Reply, Request

VERSION = "2024-11-01"
CACHE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Cache/redis/c1"
BODY: dict[str, Any] = {"location": "eastus", "properties": {"sku": {"name": "Premium", "family": "P", "capacity": 1}}}


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArm]:
    server = FakeArm(tmp_path)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def hurry() -> HurriedStop:
    return HurriedStop()


@pytest.fixture
def client(arm: FakeArm, hurry: HurriedStop) -> ArmClient:
    return connect(hurry, Settings.read({}))


@pytest.fixture
def patient_client(arm: FakeArm, stop: Stop) -> ArmClient:
    return connect(stop, Settings.read({}))


def connect(stop: Stop, settings: Settings) -> ArmClient:
    transport = Transport(stop)
    cloud = read_cloud(transport, settings.metadata_host)
    credential = Credential(transport, cloud, settings)
    return ArmClient(transport, cloud.resource_manager, credential, stop)


def conflict(code: str) -> Reply:
    return Reply(409, {"error": {"code": code, "message": "busy.\r\nRequestID=1"}})


@pytest.mark.parametrize("style", ["async", "location", "body"])
def test_a_put_ends_when_its_operation_does(arm: FakeArm, client: ArmClient, style: str) -> None:
    arm.operation_style = style
    said: list[str] = []
    made = client.put(CACHE, VERSION, BODY, progress=said.append)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert len(said) == 1
    assert said[0].startswith("Creating" if style == "body" else "InProgress, 50 %")


def test_an_operation_is_looked_at_as_often_as_azure_says(arm: FakeArm, client: ArmClient, hurry: HurriedStop) -> None:
    arm.retry_after = "7"
    client.put(CACHE, VERSION, BODY)
    client.delete(CACHE, VERSION)
    assert hurry.asked_s == [7, 7, 7, 7]


@pytest.mark.parametrize("header", [None, "0", "0.2"])
def test_without_a_usable_word_of_azure_the_pauses_are_the_real_providers(
    arm: FakeArm, client: ArmClient, hurry: HurriedStop, header: str | None
) -> None:
    arm.retry_after = header
    client.put(CACHE, VERSION, BODY)
    client.delete(CACHE, VERSION)
    assert hurry.asked_s == [10, 30]


def test_a_put_asks_for_the_result_only_where_the_status_document_does_not_hold_it(
    arm: FakeArm, client: ArmClient
) -> None:
    arm.operation_polls = 0
    client.put(CACHE, VERSION, BODY)
    assert [one.method for one in arm.requests] == ["PUT", "GET", "GET"]
    assert all(one.query["api-version"] == VERSION for one in arm.requests)


@pytest.mark.parametrize("style", ["async", "location"])
def test_a_failed_operation_says_why_and_that_it_was_taken(arm: FakeArm, client: ArmClient, style: str) -> None:
    arm.operation_style = style
    arm.operation_error = {"code": "InternalServerError", "message": "Something went wrong.\r\nRequestID=7"}
    with pytest.raises(OperationFailed, match=r"^InternalServerError: Something went wrong. RequestID=7$"):
        client.put(CACHE, VERSION, BODY)


def test_a_refused_put_is_no_operation(arm: FakeArm, client: ArmClient) -> None:
    arm.on_request = lambda _: conflict("Conflict")
    with pytest.raises(ArmError, match=r"^Conflict: busy. RequestID=1$") as caught:
        client.put(CACHE, VERSION, BODY)
    assert caught.value.status == 409
    assert len(arm.requests) == 1, "a busy cache is not asked again: the real provider does not either"


def test_another_operation_in_progress_is_waited_for(arm: FakeArm, client: ArmClient, hurry: HurriedStop) -> None:
    replies = [conflict("AnotherOperationInProgress"), Reply(503), Reply(429, None, {"Retry-After": "3"})]
    arm.on_request = lambda one: replies.pop(0) if one.method == "PUT" and replies else None
    arm.operation_polls = 0
    client.put(CACHE, VERSION, BODY)
    assert replies == []
    assert hurry.asked_s[:3] == [20, 60, 3], "the last one named its own pause"


def test_it_gives_up_after_three_more_attempts(arm: FakeArm, client: ArmClient, hurry: HurriedStop) -> None:
    arm.on_request = lambda _: conflict("AnotherOperationInProgress")
    with pytest.raises(ArmError, match="AnotherOperationInProgress"):
        client.put(CACHE, VERSION, BODY)
    assert len(arm.requests) == 4
    assert hurry.asked_s == [20, 60, 120]


def test_a_put_without_a_body_in_the_answer_is_an_error(arm: FakeArm, client: ArmClient) -> None:
    arm.on_request = lambda _: Reply(202)
    with pytest.raises(ProviderError, match="HTTP 202 without a body"):
        client.put(CACHE, VERSION, BODY)


def test_a_post_must_answer_at_once(arm: FakeArm, client: ArmClient) -> None:
    arm.on_request = lambda _: Reply(202, {"status": "InProgress"})
    with pytest.raises(ArmError, match="HTTP 202"):
        client.post(f"{CACHE}/export", VERSION, {})


def test_a_delete_waits_until_it_is_done_and_takes_gone_for_done(arm: FakeArm, client: ArmClient) -> None:
    arm.operation_polls = 0
    client.put(CACHE, VERSION, BODY)
    arm.operation_polls = 1
    client.delete(CACHE, VERSION)
    assert arm.resources == {}
    client.delete(CACHE, VERSION)
    arm.on_request = lambda _: Reply(404, {"error": {"code": "ResourceNotFound", "message": "gone"}})
    client.delete(CACHE, VERSION)


def test_a_delete_whose_operation_fails_is_an_error(arm: FakeArm, client: ArmClient) -> None:
    arm.operation_polls = 0
    client.put(CACHE, VERSION, BODY)
    arm.operation_error = {"code": "Conflict", "message": "still linked"}
    with pytest.raises(ArmError, match="Conflict: still linked"):
        client.delete(CACHE, VERSION)


def test_what_is_there_cannot_be_created(arm: FakeArm, client: ArmClient) -> None:
    client.require_absent(CACHE, VERSION)
    arm.resources[CACHE.lower()] = {"id": CACHE}
    with pytest.raises(ProviderError, match=f"^cannot create already existing resource '{CACHE}'$"):
        client.require_absent(CACHE, VERSION)
    arm.on_request = lambda _: Reply(403, {"error": {"code": "AuthorizationFailed", "message": "no"}})
    with pytest.raises(ProviderError, match=f"^cannot check existence of resource '{CACHE}': AuthorizationFailed: no$"):
        client.require_absent(CACHE, VERSION)


def test_a_missing_resource_is_told_apart(client: ArmClient) -> None:
    with pytest.raises(NotFound, match=r"^ResourceNotFound: The Resource"):
        client.get(CACHE, VERSION)


def test_an_answer_without_an_arm_body_still_makes_a_sentence(arm: FakeArm, client: ArmClient) -> None:
    arm.on_request = lambda _: Reply(400, {"Message": "An error has occurred."})
    with pytest.raises(ArmError, match=r"^HTTP 400: no error body$"):
        client.get(CACHE, VERSION)


def test_stop_ends_a_wait_at_once(arm: FakeArm, patient_client: ArmClient, stop: Stop) -> None:
    client = patient_client
    arm.retry_after = "30"
    arm.operation_polls = 100
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(OperationFailed, match="was canceled") as caught:
        client.put(CACHE, VERSION, BODY)
    timer.join()
    assert time.monotonic() - started < 5
    assert isinstance(caught.value.cause, Canceled)
    with pytest.raises(Canceled):
        client.get(CACHE, VERSION)
    assert client.get(CACHE, VERSION, after_stop=True)["name"] == "c1"


def test_the_resources_own_timeout_ends_the_wait(arm: FakeArm, patient_client: ArmClient) -> None:
    arm.retry_after = "30"
    arm.operation_polls = 100
    with pytest.raises(OperationFailed, match=r"did not finish within its timeout of 1 s") as caught:
        patient_client.put(CACHE, VERSION, BODY, timeout_s=1)
    assert isinstance(caught.value.cause, TimedOut)


def test_a_relative_polling_address_without_a_version_is_completed(arm: FakeArm, client: ArmClient) -> None:
    def reply(request: Request) -> Reply | None:
        if request.method == "PUT":
            return Reply(201, {**BODY, "id": CACHE}, {"Location": "/results/1", "Retry-After": "1"})
        return Reply(200, {"id": CACHE, "properties": {"provisioningState": "Succeeded"}})

    arm.on_request = reply
    assert client.put(CACHE, VERSION, BODY)["id"] == CACHE
    assert (arm.requests[-1].path, arm.requests[-1].query) == ("/results/1", {"api-version": VERSION})


# --- sign-in and addresses


def test_one_token_serves_until_it_is_about_to_expire(arm: FakeArm, client: ArmClient) -> None:
    for _ in range(3):
        with pytest.raises(NotFound):
            client.get(CACHE, VERSION)
    assert arm.tokens_given == 1


def test_a_refused_token_is_replaced_once(arm: FakeArm, client: ArmClient) -> None:
    arm.resources[CACHE.lower()] = {"id": CACHE}
    first: list[str] = []

    def reply(request: Request) -> Reply | None:
        first.append(request.token)
        return Reply(401, {"error": {"code": "ExpiredAuthenticationToken"}}) if request.token == first[0] else None

    arm.on_request = reply
    assert client.get(CACHE, VERSION)["id"] == CACHE
    assert arm.tokens_given == 2


def test_a_wrong_secret_is_one_sentence_without_it(arm: FakeArm, stop: Stop) -> None:
    settings = replace(Settings.read({}), client_secret="hunter2")
    assert "hunter2" not in repr(settings)
    with pytest.raises(SignInError, match=r"cannot sign in as client 'stand-in-tests'.*AADSTS7000215") as caught:
        connect(stop, settings).get(CACHE, VERSION)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_local_azure_that_does_not_run_is_one_sentence(arm: FakeArm, hurry: HurriedStop) -> None:
    settings = Settings.read({})
    arm.stop()
    with pytest.raises(Unreachable, match=r"does not answer at https://localhost:\d+; start it with `redismove local"):
        connect(hurry, settings)
    assert sum(hurry.asked_s) < 3, "that is known soon"


def test_an_unknown_authority_is_one_sentence(arm: FakeArm, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(Unreachable, match="is not trusted"):
        connect(stop, Settings.read({}))


def test_missing_settings_are_named(arm: FakeArm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARM_METADATA_HOSTNAME")
    monkeypatch.delenv("ARM_CLIENT_SECRET")
    with pytest.raises(
        ConfigurationError, match=r"needs ARM_METADATA_HOSTNAME .*, ARM_CLIENT_SECRET .*redismove local env"
    ):
        Settings.read({})
    assert Settings.read({"metadataHost": "localhost:1", "clientSecret": "s"}).metadata_host == "localhost:1"


@pytest.mark.parametrize("address", ["https://management.azure.com", "http://localhost:8443", "https://10.0.0.1"])
def test_it_never_speaks_to_another_machine(address: str, stop: Stop) -> None:
    with pytest.raises(ConfigurationError, match="is the stand-in for the local Azure"):
        Transport(stop).request("GET", f"{address}/metadata/endpoints")


def test_metadata_that_leads_away_is_refused(arm: FakeArm, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = arm.answer

    def lead_away(method: str, target: str, data: bytes, authorization: str) -> Reply:
        reply = real(method, target, data, authorization)
        if target.startswith("/metadata"):
            reply.body["resourceManager"] = "https://management.azure.com"
        return reply

    monkeypatch.setattr(arm, "answer", lead_away)
    with pytest.raises(ConfigurationError, match=r"https://management.azure.com is not https on this machine"):
        connect(stop, Settings.read({}))
