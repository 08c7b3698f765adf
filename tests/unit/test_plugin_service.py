"""The provider stand-in over gRPC, as the engine calls it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto import provider_pb2_grpc, status_pb2

from localazure.plugin.__main__ import serve
from localazure.plugin.values import UNKNOWN, Secret, from_struct, to_struct
from tests.support.fake_arm import CLIENT, KEYS, SUBSCRIPTION, TENANT, FakeArm, HurriedStop, Reply

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
CACHE = f"{GROUP}/providers/Microsoft.Cache/redis/c1"
REDIS = "azure-native:redis:Redis"
LINK = "azure-native:redis:LinkedServer"
INPUTS: dict[str, Any] = {
    "resourceGroupName": "rg1",
    "name": "c1",
    "location": "eastus",
    "sku": {"name": "Premium", "family": "P", "capacity": 1},
    "azureApiVersion": "2024-11-01",
}


def urn(token: str, name: str = "cache") -> str:
    return f"urn:pulumi:dev::project::{token}::{name}"


class Engine:
    """The engine's side of the connection, with the calls that these tests make."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = provider_pb2_grpc.ResourceProviderStub(self.channel)

    def configure(self, **args: str) -> proto.ConfigureResponse:
        return self.stub.Configure(proto.ConfigureRequest(args=to_struct(args), acceptSecrets=True))

    def check(self, token: str, news: dict[str, Any], olds: dict[str, Any] | None = None) -> proto.CheckResponse:
        request = proto.CheckRequest(
            urn=urn(token), type=token, name="cache", news=to_struct(news), olds=to_struct(olds or {}), randomSeed=b"s"
        )
        return self.stub.Check(request)

    def diff(
        self, old: dict[str, Any], new: dict[str, Any], outputs: dict[str, Any] | None = None
    ) -> proto.DiffResponse:
        request = proto.DiffRequest(
            id=CACHE,
            urn=urn(REDIS),
            type=REDIS,
            old_inputs=to_struct(old),
            news=to_struct(new),
            olds=to_struct(outputs or {}),
        )
        return self.stub.Diff(request)

    def create(self, inputs: dict[str, Any], token: str = REDIS, **more: Any) -> proto.CreateResponse:
        request = proto.CreateRequest(urn=urn(token), type=token, properties=to_struct(inputs), **more)
        return self.stub.Create(request)

    def update(self, new: dict[str, Any], olds: dict[str, Any], **more: Any) -> proto.UpdateResponse:
        request = proto.UpdateRequest(
            id=CACHE, urn=urn(REDIS), type=REDIS, news=to_struct(new), olds=to_struct(olds), **more
        )
        return self.stub.Update(request)

    def read(
        self, inputs: dict[str, Any] | None = None, state: dict[str, Any] | None = None, resource_id: str = CACHE
    ) -> proto.ReadResponse:
        request = proto.ReadRequest(id=resource_id, urn=urn(REDIS), type=REDIS, properties=to_struct(state or {}))
        if inputs is not None:
            request.inputs.CopyFrom(to_struct(inputs))
        return self.stub.Read(request)

    def delete(self, token: str = REDIS, resource_id: str = CACHE, **more: Any) -> None:
        self.stub.Delete(proto.DeleteRequest(id=resource_id, urn=urn(token), type=token, **more))

    def invoke(self, token: str, **arguments: str) -> dict[str, Any]:
        answer = self.stub.Invoke(proto.InvokeRequest(tok=token, args=to_struct(arguments)))
        return from_struct(getattr(answer, "return"))


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArm]:
    server = FakeArm(tmp_path)
    server.operation_polls = 0
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.resources[GROUP.lower()] = {"id": GROUP, "name": "rg1", "location": "westeurope"}
    yield server
    server.stop()


@pytest.fixture
def unconfigured(arm: FakeArm) -> Iterator[Engine]:
    stop = HurriedStop()
    server, port = serve(None, stop)
    engine = Engine(port)
    yield engine
    engine.channel.close()
    stop.set()
    server.stop(grace=None).wait(5)


@pytest.fixture
def engine(unconfigured: Engine) -> Engine:
    unconfigured.configure()
    return unconfigured


def put_body(arm: FakeArm) -> Any:
    return [one.body for one in arm.requests if one.method == "PUT"][-1]


def asked(arm: FakeArm) -> list[tuple[str, str]]:
    return [(one.method, one.path.rsplit("/", 1)[-1]) for one in arm.requests]


# --- the plugin itself


def test_the_handshake_and_configure_say_the_same(unconfigured: Engine) -> None:
    hello = unconfigured.stub.Handshake(proto.ProviderHandshakeRequest(engine_address="127.0.0.1:1"))
    configured = unconfigured.configure()
    assert (hello.accept_secrets, configured.acceptSecrets) == (True, True)
    assert (hello.accept_resources, configured.acceptResources) == (True, True)
    assert (hello.accept_outputs, configured.acceptOutputs) == (True, True)
    assert (hello.supports_autonaming_configuration, configured.supports_autonaming_configuration) == (True, True)
    assert configured.supportsPreview


def test_the_version_is_the_sdks(unconfigured: Engine) -> None:
    from importlib.metadata import version

    assert unconfigured.stub.GetPluginInfo(empty_pb2.Empty()).version == version("pulumi_azure_native")


def test_the_schema_names_what_there_is(unconfigured: Engine) -> None:
    schema = json.loads(unconfigured.stub.GetSchema(proto.GetSchemaRequest()).schema)
    assert schema["name"] == "azure-native"
    assert set(schema["resources"]["azure-native:redis:FirewallRule"]["inputProperties"]) == {
        "resourceGroupName",
        "cacheName",
        "ruleName",
        "startIP",
        "endIP",
    }


@pytest.mark.parametrize(
    ("method", "request_type"),
    [("Construct", "ConstructRequest"), ("Call", "CallRequest"), ("Parameterize", "ParameterizeRequest")],
)
def test_what_it_does_not_do_it_says(unconfigured: Engine, method: str, request_type: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(unconfigured.stub, method)(getattr(proto, request_type)())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert f"{method} is not implemented" in caught.value.details()


def test_an_unknown_type_is_one_sentence(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        engine.check("azure-native:compute:VirtualMachine", {})
    assert "has no resource azure-native:compute:VirtualMachine; see" in caught.value.details()


def test_a_programs_provider_goes_before_the_environment(unconfigured: Engine, arm: FakeArm) -> None:
    unconfigured.configure(subscriptionId="another")
    unconfigured.create(INPUTS)
    assert arm.requests[-1].path.startswith("/subscriptions/another/")


def test_missing_settings_are_one_sentence(unconfigured: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARM_CLIENT_SECRET")
    with pytest.raises(grpc.RpcError) as caught:
        unconfigured.configure()
    assert "needs ARM_CLIENT_SECRET (or azure-native:clientSecret); run eval" in caught.value.details()


# --- check and diff


def test_check_completes_the_inputs(engine: Engine) -> None:
    news = {"resourceGroupName": "rg1", "sku": INPUTS["sku"]}
    answer = engine.check(REDIS, news)
    inputs = from_struct(answer.inputs)
    assert list(answer.failures) == []
    assert inputs["location"] == "westeurope", "the resource group's"
    assert inputs["azureApiVersion"] == "2024-11-01"
    assert inputs["name"].startswith("cache")


def test_check_keeps_unknown_and_secret_values(engine: Engine) -> None:
    news = {"resourceGroupName": UNKNOWN, "name": "c1", "sku": INPUTS["sku"], "tags": {"a": Secret("s")}}
    inputs = from_struct(engine.check(REDIS, news).inputs)
    assert inputs["resourceGroupName"] is UNKNOWN
    assert inputs["location"] is UNKNOWN
    assert inputs["tags"] == {"a": Secret("s")}


def test_check_without_a_group_leaves_the_location_to_the_program(engine: Engine) -> None:
    reasons = [
        one.reason for one in engine.check(REDIS, {**INPUTS, "location": None, "resourceGroupName": "no"}).failures
    ]
    assert len(reasons) == 1
    assert reasons[0].startswith("missing required property 'location'")


def test_a_failure_names_no_property_so_that_the_engine_prints_no_value(engine: Engine) -> None:
    failures = engine.check(REDIS, {**INPUTS, "staticIP": Secret("hunter2")}).failures
    assert [one.property for one in failures] == [""]
    assert "hunter2" not in str(failures)


def test_an_equal_diff_says_none(engine: Engine) -> None:
    answer = engine.diff(INPUTS, {**INPUTS, "location": "East US"})
    assert answer.changes == proto.DiffResponse.DIFF_NONE
    assert (list(answer.replaces), list(answer.diffs), answer.deleteBeforeReplace) == ([], [], False)


def test_a_changed_size_is_an_update(engine: Engine) -> None:
    answer = engine.diff(INPUTS, {**INPUTS, "sku": {**INPUTS["sku"], "capacity": 2}})
    assert answer.changes == proto.DiffResponse.DIFF_SOME
    assert list(answer.diffs) == ["sku"]
    assert list(answer.replaces) == []
    assert answer.detailedDiff["sku.capacity"].kind == proto.PropertyDiff.UPDATE
    assert answer.detailedDiff["sku.capacity"].inputDiff


def test_another_name_is_a_replacement_that_deletes_first(engine: Engine) -> None:
    answer = engine.diff(INPUTS, {**INPUTS, "name": "c2"})
    assert list(answer.replaces) == ["name"]
    assert answer.detailedDiff["name"].kind == proto.PropertyDiff.UPDATE_REPLACE
    assert answer.deleteBeforeReplace


def test_a_random_name_lets_the_replacement_come_first(engine: Engine) -> None:
    old = {**INPUTS, "__createBeforeDelete": True}
    answer = engine.diff(old, {**old, "location": "westus"})
    assert list(answer.replaces) == ["location"]
    assert not answer.deleteBeforeReplace


def test_an_import_is_no_change_for_want_of_an_api_version(engine: Engine) -> None:
    imported = {key: value for key, value in INPUTS.items() if key != "azureApiVersion"}
    answer = engine.diff(imported, INPUTS, {"azureApiVersion": "2024-11-01"})
    assert answer.changes == proto.DiffResponse.DIFF_NONE


def test_secret_inputs_are_compared_by_their_values(engine: Engine) -> None:
    old = {**INPUTS, "tags": Secret({"a": "b"})}
    assert engine.diff(old, {**INPUTS, "tags": {"a": "b"}}).changes == proto.DiffResponse.DIFF_NONE


# --- a resource's life


def test_create_looks_puts_waits_and_reads_back(engine: Engine, arm: FakeArm) -> None:
    answer = engine.create({**INPUTS, "redisConfiguration": {"maxmemoryPolicy": "allkeys-lru"}})
    assert [method for method, _ in asked(arm)] == ["GET", "PUT", "GET", "GET", "GET"]
    assert put_body(arm) == {
        "location": "eastus",
        "properties": {"sku": INPUTS["sku"], "redisConfiguration": {"maxmemory-policy": "allkeys-lru"}},
    }
    assert answer.id == CACHE.replace("/redis/", "/Redis/"), "as ARM spells it"
    state = from_struct(answer.properties)
    assert state["provisioningState"] == "Succeeded"
    assert state["hostName"] == "127.0.0.1"
    assert state["redisConfiguration"] == {"maxmemoryPolicy": "allkeys-lru"}
    assert state["azureApiVersion"] == "2024-11-01"
    assert "accessKeys" not in state, "they are in the answer to the PUT alone"


def test_keys_that_do_come_back_are_secret(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    arm.resources[CACHE.lower()]["properties"]["accessKeys"] = KEYS
    assert from_struct(engine.read().properties)["accessKeys"] == Secret(KEYS)
    result = engine.invoke("azure-native:redis:getRedis", name="c1", resourceGroupName="rg1")
    assert result["accessKeys"] == Secret(KEYS)


def test_a_secret_input_stays_secret_in_the_state(engine: Engine) -> None:
    state = from_struct(engine.create({**INPUTS, "tags": {"owner": Secret("x")}}).properties)
    assert state["tags"] == {"owner": Secret("x")}


def test_what_exists_is_not_created_again(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    with pytest.raises(grpc.RpcError) as caught:
        engine.create(INPUTS)
    assert caught.value.details() == f"cannot create already existing resource '{CACHE}'"
    assert caught.value.code() == grpc.StatusCode.UNKNOWN
    assert arm.writes() == [("PUT", "c1")]


def test_a_preview_asks_nobody(engine: Engine, arm: FakeArm) -> None:
    answer = engine.create({**INPUTS, "tags": UNKNOWN}, preview=True)
    preview = from_struct(answer.properties)
    assert answer.id == ""
    assert preview["sku"] == INPUTS["sku"]
    assert preview["hostName"] is UNKNOWN
    assert preview["accessKeys"] is UNKNOWN
    assert preview["tags"] is UNKNOWN
    assert arm.requests == []


def test_an_updates_preview_keeps_what_never_changes(engine: Engine, arm: FakeArm) -> None:
    olds = {"name": "c1", "location": "East US", "hostName": "127.0.0.9"}
    preview = from_struct(engine.update({**INPUTS, "tags": {"a": "b"}}, olds, preview=True).properties)
    assert (preview["name"], preview["location"]) == ("c1", "East US")
    assert preview["hostName"] is UNKNOWN
    assert arm.requests == []


def test_an_update_puts_the_whole_resource(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    new = {**INPUTS, "sku": {**INPUTS["sku"], "capacity": 2}}
    state = from_struct(engine.update(new, {}).properties)
    assert arm.writes() == [("PUT", "c1"), ("PUT", "c1")]
    assert put_body(arm) == {"location": "eastus", "properties": {"sku": new["sku"]}}
    assert state["sku"]["capacity"] == 2


def test_a_refusal_is_azures_sentence(engine: Engine, arm: FakeArm) -> None:
    message = "Azure Cache for Redis is retiring, create Azure Managed Redis instance instead.\r\nRequestID=1"
    arm.on_request = lambda one: (
        Reply(400, {"error": {"code": "BadRequest", "message": message}}) if one.method == "PUT" else None
    )
    with pytest.raises(grpc.RpcError) as caught:
        engine.create(INPUTS)
    assert caught.value.details() == (
        "BadRequest: Azure Cache for Redis is retiring, create Azure Managed Redis instance instead. RequestID=1"
    )
    assert init_failed(caught.value) is None


def init_failed(error: grpc.RpcError) -> proto.ErrorResourceInitFailed | None:
    """The details that make the engine keep a half-made resource."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            detail = proto.ErrorResourceInitFailed()
            assert status.details[0].Unpack(detail)
            return detail
    return None


def test_a_failed_operation_leaves_the_resource_in_the_state(engine: Engine, arm: FakeArm) -> None:
    arm.operation_error = {"code": "InternalServerError", "message": "Something went wrong."}
    with pytest.raises(grpc.RpcError) as caught:
        engine.create(INPUTS)
    detail = init_failed(caught.value)
    assert detail is not None
    assert detail.id == CACHE.replace("/redis/", "/Redis/")
    assert list(detail.reasons) == ["InternalServerError: Something went wrong."]
    assert from_struct(detail.properties)["provisioningState"] == "Creating"
    assert from_struct(detail.inputs) == INPUTS


def test_cancel_ends_a_create_at_once_and_keeps_the_resource(engine: Engine, arm: FakeArm) -> None:
    arm.retry_after, arm.operation_polls = "30", 100
    result: list[grpc.RpcError] = []

    def create() -> None:
        with pytest.raises(grpc.RpcError) as caught:
            engine.create(INPUTS)
        result.append(caught.value)

    thread = threading.Thread(target=create)
    thread.start()
    wait_until(lambda: bool(arm.writes()))
    started = time.monotonic()
    engine.stub.Cancel(empty_pb2.Empty())
    thread.join(10)
    assert time.monotonic() - started < 5
    assert "was canceled" in result[0].details()
    detail = init_failed(result[0])
    assert detail is not None
    assert from_struct(detail.properties)["provisioningState"] == "Creating"


def wait_until(condition: Any, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def test_the_resources_timeout_is_obeyed(engine: Engine, arm: FakeArm) -> None:
    arm.retry_after, arm.operation_polls = "30", 100
    with pytest.raises(grpc.RpcError) as caught:
        engine.create(INPUTS, timeout=1)
    assert "did not finish within its timeout of 1 s" in caught.value.details()


def test_delete_waits_and_takes_gone_for_done(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    engine.delete()
    assert CACHE.lower() not in arm.resources
    engine.delete()
    assert arm.writes() == [("PUT", "c1"), ("DELETE", "c1"), ("DELETE", "c1")]


# --- read


def test_a_refresh_of_what_is_gone_gives_no_id(engine: Engine) -> None:
    answer = engine.read(INPUTS, {"name": "c1"})
    assert answer.id == ""


def test_a_refresh_without_a_change_leaves_the_inputs_alone(engine: Engine) -> None:
    created = engine.create({**INPUTS, "tags": {"owner": Secret("x")}})
    state = from_struct(created.properties)
    answer = engine.read({**INPUTS, "tags": {"owner": Secret("x")}}, state)
    assert from_struct(answer.inputs) == {**INPUTS, "tags": {"owner": Secret("x")}}, "not Azure's East US"
    assert from_struct(answer.properties) == state
    assert answer.id == CACHE


def test_a_refresh_shows_what_somebody_changed(engine: Engine, arm: FakeArm) -> None:
    state = from_struct(engine.create(INPUTS).properties)
    cache = arm.resources[CACHE.lower()]
    cache["tags"] = {"by": "hand"}
    cache["properties"]["sku"] = {"name": "Premium", "family": "P", "capacity": 3}
    cache["properties"]["hostName"] = "127.0.0.2"
    answer = engine.read(INPUTS, state)
    inputs = from_struct(answer.inputs)
    assert inputs == {**INPUTS, "tags": {"by": "hand"}, "sku": {"name": "Premium", "family": "P", "capacity": 3}}
    assert from_struct(answer.properties)["hostName"] == "127.0.0.2"


def test_an_import_gives_inputs_and_outputs(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    answer = engine.read()
    assert from_struct(answer.inputs) == {
        "resourceGroupName": "rg1",
        "name": "c1",
        "location": "East US",
        "sku": INPUTS["sku"],
    }
    assert from_struct(answer.properties)["sslPort"] == 6380


def test_an_import_of_another_kind_of_id_is_refused(engine: Engine, arm: FakeArm) -> None:
    arm.resources[GROUP.lower()] = {"id": GROUP}
    with pytest.raises(grpc.RpcError) as caught:
        engine.read(resource_id=GROUP)
    assert caught.value.details().startswith(f"failed to parse '{GROUP}' against the path")


# --- links: the primary's child, named after the other cache


def test_a_link_is_made_under_its_primary(engine: Engine, arm: FakeArm) -> None:
    link = {
        "resourceGroupName": "rg1",
        "name": "c1",
        "linkedServerName": "c2",
        "linkedRedisCacheId": CACHE.replace("c1", "c2"),
        "linkedRedisCacheLocation": "westus",
        "serverRole": "Secondary",
    }
    answer = engine.create(link, LINK)
    assert answer.id.endswith("/Redis/c1/linkedServers/c2")
    assert put_body(arm) == {
        "properties": {
            "linkedRedisCacheId": CACHE.replace("c1", "c2"),
            "linkedRedisCacheLocation": "westus",
            "serverRole": "Secondary",
        }
    }
    assert from_struct(answer.properties)["name"] == "c2"
    engine.delete(LINK, answer.id)
    assert arm.writes()[-1] == ("DELETE", "c2")


# --- functions


def test_get_redis_reads_the_cache(engine: Engine) -> None:
    engine.create(INPUTS)
    result = engine.invoke("azure-native:redis:getRedis", name="c1", resourceGroupName="rg1")
    assert result["id"] == CACHE.replace("/redis/", "/Redis/")
    assert (result["sslPort"], result["azureApiVersion"]) == (6380, "2024-11-01")


def test_keys_are_secret(engine: Engine) -> None:
    engine.create(INPUTS)
    result = engine.invoke("azure-native:redis:listRedisKeys", name="c1", resourceGroupName="rg1")
    assert result == {key: Secret(value) for key, value in KEYS.items()}


def test_a_versioned_function_uses_its_version(engine: Engine, arm: FakeArm) -> None:
    engine.create(INPUTS)
    engine.invoke("azure-native:redis/v20230801:getRedis", name="c1", resourceGroupName="rg1")
    assert arm.requests[-1].query["api-version"] == "2023-08-01"


def test_the_client_configuration_comes_from_the_token(engine: Engine) -> None:
    assert engine.invoke("azure-native:authorization:getClientConfig") == {
        "clientId": CLIENT,
        "objectId": "object-1",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    }


def test_a_token_is_secret(engine: Engine) -> None:
    assert isinstance(engine.invoke("azure-native:authorization:getClientToken")["token"], Secret)


def test_a_function_of_a_missing_cache_is_azures_sentence(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        engine.invoke("azure-native:redis:getRedis", name="no", resourceGroupName="rg1")
    assert caught.value.details().startswith("ResourceNotFound: The Resource")


def test_an_unknown_function_is_one_sentence(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        engine.invoke("azure-native:redis:getMagic")
    assert "has no function azure-native:redis:getMagic" in caught.value.details()
