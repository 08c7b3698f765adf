"""The engine's protocol: the gRPC stubs of the Pulumi SDK, and the settings that servers and channels share."""

from __future__ import annotations

from pulumi.runtime.proto import (
    analyzer_pb2,
    analyzer_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    plugin_pb2,
)

__all__ = [
    "CHANNEL_OPTIONS",
    "analyzer_pb2",
    "analyzer_pb2_grpc",
    "language_pb2",
    "language_pb2_grpc",
    "plugin_pb2",
]

#: Pulumi's own limit for a message (`rpcutil.MaxRPCMessageSize`): one may hold a whole stack.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024

#: Settings of every gRPC server and channel of the host.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
