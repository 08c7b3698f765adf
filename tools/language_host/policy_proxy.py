"""Stands between the engine and a policy pack until the pack knows its stack.

The engine starts a policy pack first and tells it the stack's configuration in a later call. Policy packs in Python
read that configuration from environment variables when they start. So this server takes the engine's first calls,
the pack is started when the configuration has come, and every other call is passed on to it.
"""

from __future__ import annotations

import json
import threading
from concurrent import futures

import grpc
from google.protobuf import empty_pb2

from language_host.protocol import CHANNEL_OPTIONS, analyzer_pb2, analyzer_pb2_grpc, plugin_pb2


class PolicyProxy(analyzer_pb2_grpc.AnalyzerServicer):
    """The engine's side of one policy pack.

    Serve it, read `configuration()`, start the pack with it, then call `attach` with the pack's port, or `fail`.
    """

    def __init__(self) -> None:
        self._configured = threading.Event()
        self._request: analyzer_pb2.AnalyzerStackConfigureRequest | None = None
        self._pack: futures.Future[analyzer_pb2_grpc.AnalyzerStub] = futures.Future()
        self._channel: grpc.Channel | None = None
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=CHANNEL_OPTIONS)
        analyzer_pb2_grpc.add_AnalyzerServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """Stop serving; what still waits for the pack is answered with an error."""
        self._configured.set()
        self.fail("the policy pack has ended")
        self._server.stop(grace=None)
        if self._channel is not None:
            self._channel.close()

    def configuration(self) -> dict[str, str]:
        """Wait for the stack's configuration.

        Returns:
            The environment variables that tell the pack of it; none where the engine has no stack, as in
            `pulumi policy publish`.
        """
        self._configured.wait()
        request = self._request
        if request is None:
            return {}
        variables = {
            "PULUMI_ORGANIZATION": request.organization,
            "PULUMI_PROJECT": request.project,
            "PULUMI_STACK": request.stack,
            "PULUMI_DRY_RUN": "true" if request.dry_run else "false",
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
        }
        return {name: value for name, value in variables.items() if value}

    def attach(self, port: int) -> None:
        """Pass every call on to the policy pack that listens on `port`."""
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        pack = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        if self._request is not None:
            try:
                pack.ConfigureStack(self._request)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    self.fail(f"the policy pack refused the stack's configuration: {error.details()}")
                    return
        self._pack.set_result(pack)

    def fail(self, reason: str) -> None:
        """Answer every waiting and later call with `reason`, unless the pack is attached already."""
        if not self._pack.done():
            self._pack.set_exception(RuntimeError(reason))

    # The calls below are named by the protocol.

    def Handshake(self, request, context):
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def ConfigureStack(self, request, context):
        self._request = request
        self._configured.set()
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def GetPluginInfo(self, request, context) -> plugin_pb2.PluginInfo:
        return self._pass_on("GetPluginInfo", request, context)

    def GetAnalyzerInfo(self, request, context) -> analyzer_pb2.AnalyzerInfo:
        return self._pass_on("GetAnalyzerInfo", request, context)

    def Configure(self, request, context) -> empty_pb2.Empty:
        return self._pass_on("Configure", request, context)

    def Analyze(self, request, context) -> analyzer_pb2.AnalyzeResponse:
        return self._pass_on("Analyze", request, context)

    def AnalyzeStack(self, request, context) -> analyzer_pb2.AnalyzeResponse:
        return self._pass_on("AnalyzeStack", request, context)

    def Remediate(self, request, context) -> analyzer_pb2.RemediateResponse:
        return self._pass_on("Remediate", request, context)

    def Cancel(self, request, context) -> empty_pb2.Empty:
        return self._pass_on("Cancel", request, context)

    def _pass_on(self, method: str, request, context: grpc.ServicerContext):
        self._configured.set()  # a call before ConfigureStack: this engine has no stack to tell of
        try:
            pack = self._pack.result()
        except RuntimeError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        try:
            return getattr(pack, method)(request)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
