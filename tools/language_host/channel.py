"""Settings that every gRPC server and channel of the language host shares."""

from __future__ import annotations

#: Pulumi's own limit (`rpcutil.MaxRPCMessageSize`): one message may hold a whole stack.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
