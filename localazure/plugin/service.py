"""
Pulumi's provider protocol, answered with ARM calls.

Every method does what the same method of the real provider does (provider/pkg/provider/provider.go of
pulumi-azure-native); README.md lists the differences.
"""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from localazure.plugin import check, diff, shape
from localazure.plugin.arm_client import DEFAULT_TIMEOUT_S, ArmClient
from localazure.plugin.engine import EngineLog
from localazure.plugin.errors import ConfigurationError, NotFound, OperationFailed, ProviderError
from localazure.plugin.identity import Credential, Settings, read_cloud
from localazure.plugin.invokes import invoke
from localazure.plugin.resources import ROWS, find_resource
from localazure.plugin.schema import Prop, ResourceType
from localazure.plugin.transport import Stop, Transport
from localazure.plugin.values import UNKNOWN, Secret, from_struct, mark_like, plain, to_struct

Properties = dict[str, Any]

STABLE_OUTPUTS = ("name", "location")
"""What an update never changes, so that dependants know it in a preview already."""

_KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class InitFailed(ProviderError):
    """The resource was made, but not to the end: the engine keeps it in the state, with the reason."""

    def __init__(self, reason: str, resource_id: str, state: Properties, inputs: struct_pb2.Struct) -> None:
        super().__init__(reason)
        self.detail = provider_pb2.ErrorResourceInitFailed(
            id=resource_id, properties=to_struct(state), reasons=[reason], inputs=inputs
        )


@dataclass(frozen=True)
class _Status(grpc.Status):  # type: ignore[misc]
    """What grpc wants for an error with details; the class it offers has no constructor."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


def _with_details(error: InitFailed) -> _Status:
    """Pack an error the way Go's gRPC unpacks it."""
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(error.detail)
    return _Status(grpc.StatusCode.UNKNOWN, str(error), (("grpc-status-details-bin", status.SerializeToString()),))


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what a method raises into a gRPC error with one sentence; our own mistakes also leave a traceback."""

    @functools.wraps(method)
    def call(self: ProviderService, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except InitFailed as error:
            status: _Status | None = _with_details(error)
        except ProviderError as error:
            # UNKNOWN is what Go makes of an error without a code, and so of the real provider's
            status = _Status(grpc.StatusCode.UNKNOWN, str(error), ())
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine must get an answer
            traceback.print_exc(file=sys.stderr)
            message = f"the local Azure's provider failed in {method.__name__}: {type(error).__name__}: {error}"
            status = _Status(grpc.StatusCode.INTERNAL, message, ())
        context.abort_with_status(status)
        raise AssertionError("abort_with_status raises")

    return call


@dataclass(frozen=True)
class _Azure:
    """The configured connection."""

    settings: Settings
    client: ArmClient
    credential: Credential


class ProviderService(provider_pb2_grpc.ResourceProviderServicer):  # type: ignore[misc]
    """The service that the engine calls; it works on many resources at once."""

    def __init__(self, engine: EngineLog, stop: Stop, version: str) -> None:
        self._engine = engine
        self._stop = stop
        self._version = version
        self._azure: _Azure | None = None
        self._group_locations: dict[str, str] = {}

    # --- the plugin itself

    @_answered
    def Handshake(self, request: Any, context: Any) -> Any:
        """Take the engine's address, and say what this provider understands."""
        self._engine.attach(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, accept_resources=True, accept_outputs=True, supports_autonaming_configuration=True
        )

    @_answered
    def Attach(self, request: Any, context: Any) -> Any:
        """Take the engine's address: it has connected to a provider that somebody else started."""
        self._engine.attach(request.address)
        return empty_pb2.Empty()

    @_answered
    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Give the version of azure-native that is stood in for."""
        return plugin_pb2.PluginInfo(version=self._version)

    @_answered
    def GetSchema(self, request: Any, context: Any) -> Any:
        """Give a small schema: the types and functions that the stand-in knows, with their inputs' names."""
        return provider_pb2.GetSchemaResponse(schema=json.dumps(_schema(self._version)))

    @_answered
    def GetMapping(self, request: Any, context: Any) -> Any:
        """Answer that there is no mapping, as the real provider does."""
        return provider_pb2.GetMappingResponse()

    @_answered
    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Take the configuration as it is; Configure says what is wrong with it."""
        return provider_pb2.CheckResponse(inputs=request.news)

    @_answered
    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Leave it to the engine: no change of the configuration replaces the provider."""
        return provider_pb2.DiffResponse()

    @_answered
    def Configure(self, request: Any, context: Any) -> Any:
        """Read the settings and find the cloud; signing in waits for the first call to ARM."""
        configured = {key.rsplit(":", 1)[-1]: value for key, value in request.variables.items()}
        settings = Settings.read(configured | plain(from_struct(request.args)))
        transport = Transport(self._stop)
        cloud = read_cloud(transport, settings.metadata_host)
        credential = Credential(transport, cloud, settings)
        client = ArmClient(transport, cloud.resource_manager, credential, self._stop)
        self._azure = _Azure(settings, client, credential)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True,
            acceptResources=True,
            acceptOutputs=True,
            supportsPreview=True,
            supports_autonaming_configuration=True,
        )

    @_answered
    def Cancel(self, request: Any, context: Any) -> Any:
        """End all waiting at once; the operations end with an error, Azure goes on with what it took."""
        self._stop.set()
        return empty_pb2.Empty()

    @_answered
    def Invoke(self, request: Any, context: Any) -> Any:
        """Run a function."""
        azure = self._configured()
        result = invoke(
            request.tok,
            plain(from_struct(request.args)),
            client=azure.client,
            credential=azure.credential,
            settings=azure.settings,
        )
        return provider_pb2.InvokeResponse(**{"return": to_struct(result)})

    # --- a resource's life

    @_answered
    def Check(self, request: Any, context: Any) -> Any:
        """Complete the inputs, and say what is wrong with them."""
        row = _row(request)
        naming = check.Naming(_name(request), request.randomSeed)
        if request.HasField("autonaming"):
            modes = provider_pb2.CheckRequest.AutonamingOptions.Mode
            mode = modes.Name(request.autonaming.mode).lower()
            naming = check.Naming(naming.resource_name, naming.seed, mode, request.autonaming.proposed_name)
        inputs = check.with_defaults(
            row,
            old=from_struct(request.olds),
            new=from_struct(request.news),
            naming=naming,
            default_location=self._default_location,
        )
        return provider_pb2.CheckResponse(
            inputs=to_struct(inputs),
            # without a property: the engine would print that property's value
            failures=[provider_pb2.CheckFailure(reason=reason) for reason in check.failures(row, inputs)],
        )

    @_answered
    def Diff(self, request: Any, context: Any) -> Any:
        """Say what an update would change, and whether it needs another resource."""
        row = _row(request)
        old_outputs = plain(from_struct(request.olds))
        old_inputs = plain(from_struct(request.old_inputs))
        if "azureApiVersion" in old_outputs:  # imported resources do not have it among their inputs
            old_inputs.setdefault("azureApiVersion", old_outputs["azureApiVersion"])
        new_inputs = plain(from_struct(request.news))
        changes = diff.resource_changes(row, old_inputs, new_inputs, old_outputs)
        replaces = sorted(path for path, change in changes.items() if change.replaces)
        kept = not old_inputs.get(check.CREATE_BEFORE_DELETE, False)
        some = provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and kept,
            diffs=sorted({diff.top_level(path) for path in changes}),
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=_KINDS[change.action, change.replaces], inputDiff=True)
                for path, change in changes.items()
            },
            hasDetailedDiff=True,
        )

    @_answered
    def Create(self, request: Any, context: Any) -> Any:
        """Make a resource that is not there yet."""
        row = _row(request)
        marked = from_struct(request.properties)
        inputs = plain(marked)
        if request.preview:
            preview = shape.preview_outputs(row.body, inputs)
            return provider_pb2.CreateResponse(properties=to_struct(_mark(row, preview, marked)))
        azure = self._configured()
        path = shape.resource_path(row.path, azure.settings.subscription_id, inputs)
        azure.client.require_absent(path, row.api_version)
        resource_id, state = self._put(row, path, request, request.properties)
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(state))

    @_answered
    def Update(self, request: Any, context: Any) -> Any:
        """Change a resource by sending the whole of it again."""
        row = _row(request)
        marked = from_struct(request.news)
        inputs = plain(marked)
        if request.preview:
            preview = shape.preview_outputs(row.body, inputs)
            old = plain(from_struct(request.olds))
            preview |= {key: old[key] for key in STABLE_OUTPUTS if key in old}
            return provider_pb2.UpdateResponse(properties=to_struct(_mark(row, preview, marked)))
        azure = self._configured()
        path = shape.resource_path(row.path, azure.settings.subscription_id, inputs)
        _, state = self._put(row, path, request, request.news)
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    @_answered
    def Read(self, request: Any, context: Any) -> Any:
        """Read a resource's present state, for a refresh, an import or a `get`."""
        row = _row(request)
        path = _quoted(request.id)
        try:
            body = self._configured().client.get(path, row.api_version)
        except NotFound:
            return provider_pb2.ReadResponse()  # an empty id: it is gone
        outputs = shape.outputs(row.body, body)
        if request.HasField("inputs"):
            marked = from_struct(request.inputs)
            inputs = self._refreshed_inputs(row, plain(marked), plain(from_struct(request.properties)), outputs)
        else:
            marked = {}
            inputs = shape.imported_inputs(row, request.id, body)
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=to_struct(_state(row, body, marked)),
            inputs=to_struct(mark_like(inputs, marked)),
        )

    @_answered
    def Delete(self, request: Any, context: Any) -> Any:
        """Delete a resource; one that is gone already is a success."""
        row = _row(request)
        self._configured().client.delete(
            _quoted(request.id),
            row.api_version,
            timeout_s=request.timeout or DEFAULT_TIMEOUT_S,
            progress=self._progress(request.urn, "deleting"),
        )
        return empty_pb2.Empty()

    # --- what the methods share

    def _configured(self) -> _Azure:
        if self._azure is None:
            raise ConfigurationError("the local Azure's provider is not configured yet")
        return self._azure

    def _default_location(self, inputs: Mapping[str, Any]) -> Any:
        """Find the location for inputs without one: the configured one, else the resource group's."""
        azure = self._configured()
        if azure.settings.location is not None:
            return azure.settings.location
        group = inputs.get("resourceGroupName")
        if group is UNKNOWN:
            return UNKNOWN
        if not isinstance(group, str):
            return None
        if group not in self._group_locations:
            path = f"/subscriptions/{azure.settings.subscription_id}/resourceGroups/{quote(group, safe='')}"
            try:
                location = azure.client.get(path, "2020-10-01").get("location")
            except NotFound:
                return None
            if not isinstance(location, str):
                return None
            self._group_locations[group] = location
        return self._group_locations[group]

    def _put(self, row: ResourceType, path: str, request: Any, sent: struct_pb2.Struct) -> tuple[str, Properties]:
        """
        Send the resource, wait, read it back.

        Args:
            row: its type.
            path: its id as the inputs spell it.
            request: what the engine asks for, a Create or an Update.
            sent: the inputs in it.

        Returns:
            Its id as ARM spells it, and its outputs as GET shows them, which is what a refresh will see.

        Raises:
            InitFailed: Azure took the request, and it ended badly.
        """
        client = self._configured().client
        marked = from_struct(sent)
        try:
            body = client.put(
                path,
                row.api_version,
                shape.request_body(row, plain(marked)),
                method=row.update_method,
                timeout_s=request.timeout or DEFAULT_TIMEOUT_S,
                progress=self._progress(request.urn, "waiting for Azure"),
            )
        except OperationFailed as error:
            raise self._init_failed(row, path, str(error), sent) from error
        resource_id = str(body.get("id") or path)
        try:
            body = client.get(path, row.api_version)
        except ProviderError as error:
            self._engine.warning(request.urn, f"Failed to read resource after it was written: {error}")
        return resource_id, _state(row, body, marked)

    def _init_failed(self, row: ResourceType, path: str, reason: str, sent: struct_pb2.Struct) -> InitFailed:
        """Build the error for a resource that Azure took and did not finish, with what is there of it."""
        try:
            body = self._configured().client.get(path, row.api_version, after_stop=True)
        except ProviderError as error:
            return InitFailed(f"{reason} (and its state could not be read: {error})", path, {}, sent)
        return InitFailed(reason, str(body.get("id") or path), _state(row, body, from_struct(sent)), sent)

    def _refreshed_inputs(
        self, row: ResourceType, inputs: Properties, old_outputs: Properties, outputs: Properties
    ) -> Properties:
        """Carry into the inputs what differs between the outputs then and now, and nothing that Azure set by itself."""
        before = shape.project_inputs(row.inputs, old_outputs)
        now = shape.project_inputs(row.inputs, outputs)
        return diff.apply_diff(inputs, diff.diff_objects(before, now))

    def _progress(self, urn: str, what: str) -> Callable[[str], None]:
        return lambda message: self._engine.status(urn, f"{what}: {message}")


def _unimplemented(name: str) -> Callable[..., Any]:
    def answer(_service: ProviderService, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not implemented by the local Azure's provider")

    answer.__name__ = name
    answer.__doc__ = f"Answer that {name} is not implemented."
    return answer


# grpc's own answer for these prints a traceback to stderr
for _method in ("Parameterize", "Construct", "Call", "List", "GetMappings"):
    setattr(ProviderService, _method, _unimplemented(_method))


def _row(request: Any) -> ResourceType:
    """Find the row of the request's resource type."""
    token = request.type or request.urn.split("::", 3)[2].rsplit("$", 1)[-1]
    row = find_resource(token)
    if row is None:
        raise ProviderError(f"the local Azure's provider has no resource {token}; see localazure/plugin/README.md")
    return row


def _name(request: Any) -> str:
    return str(request.name or request.urn.split("::", 3)[3])


def _quoted(resource_id: str) -> str:
    return quote(resource_id, safe="/%")


def _state(row: ResourceType, body: Mapping[str, Any], marked: Mapping[str, Any]) -> Properties:
    """Build the outputs for the state from ARM's JSON."""
    return _mark(row, shape.outputs(row.body, body), marked)


def _mark(row: ResourceType, outputs: Properties, marked: Mapping[str, Any]) -> Properties:
    """Add the api-version, and mark as secret what is, or what came in as such."""
    result = mark_like(outputs, marked)
    result["azureApiVersion"] = row.api_version
    for key in row.secret_outputs():
        if result.get(key) is not None and not isinstance(result[key], Secret) and result[key] is not UNKNOWN:
            result[key] = Secret(result[key])
    return result


def _schema(version: str) -> dict[str, Any]:
    """Describe the rows in the form of Pulumi's package schema, without nested types."""
    resources = {}
    for row in ROWS:
        names = {name: {"type": "string"} for name in row.path_parameters}
        inputs = {prop.sdk: _schema_type(prop) for prop in row.inputs} | names
        resources[row.token] = {
            "properties": {prop.sdk: _schema_type(prop) for prop in row.body if not prop.write_only},
            "inputProperties": inputs,
            "requiredInputs": sorted(prop.sdk for prop in row.inputs if prop.required and prop.sdk != "location"),
        }
    return {"name": "azure-native", "version": version, "resources": resources}


def _schema_type(prop: Prop) -> dict[str, Any]:
    anything = {"$ref": "pulumi.json#/Any"}
    if prop.kind in ("string", "integer", "number", "boolean"):
        return {"type": prop.kind}
    if prop.kind == "array":
        return {"type": "array", "items": _schema_type(prop.items) if prop.items is not None else anything}
    if prop.kind == "map":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    return {"type": "array", "items": {"type": "string"}} if prop.kind == "id_set" else anything
