"""What can go wrong between us and a Redis server, each as one sentence that names the server and the next step."""

from __future__ import annotations

from redismove.errors import RedismoveError


class DataPlaneError(RedismoveError):
    """Base of every error of the data plane."""


class AddressInvalid(DataPlaneError):
    """A URL or address that cannot be used."""


class ConnectionRefused(DataPlaneError):
    """Nobody could be reached at host:port (refused, unknown name, no route)."""


class ConnectionLost(DataPlaneError):
    """An open connection ended; nothing is known about commands that had no reply yet."""


class ServerTimeout(DataPlaneError):
    """The server moved no byte for longer than allowed."""


class AuthenticationFailed(DataPlaneError):
    """User name, access key or token was not accepted, or none was given."""


class LoginDue(DataPlaneError):
    """The token of a connection ends soon; who reads from it by himself opens it again, and goes on."""


class CertificateRejected(DataPlaneError):
    """TLS failed: unknown authority, another host name, expired, or not TLS at all."""


class ReadOnlyServer(DataPlaneError):
    """A write met a read-only server (a replica or a linked geo-secondary)."""


class OutOfMemory(DataPlaneError):
    """The server's maxmemory is reached and its policy does not evict."""


class CommandBlocked(DataPlaneError):
    """The service does not allow this command (unknown command, or the user's permissions)."""


class ServerNotReady(DataPlaneError):
    """Loading, full synchronisation, or a cluster that is down."""


class ProtocolViolation(DataPlaneError):
    """The answer is not RESP: most often TLS on one side only, or another service on that port."""


class ClusterMoved(DataPlaneError):
    """A cluster kept moving slots for longer than allowed."""


class PayloadUnreadable(DataPlaneError):
    """A DUMP payload of a kind that this program does not know (a module's type, or a newer server)."""


class CannotCarry(DataPlaneError):
    """A key cannot be made the same on the other side."""


class DatabaseMissing(DataPlaneError):
    """The other side has no database of that number."""


class ReplyError(DataPlaneError):
    """An error reply that has no better name here; `str()` is the server's own text."""

    @property
    def code(self) -> str:
        """The first word of the reply (`WRONGTYPE`, `MOVED`, `ERR`, ...)."""
        return str(self).split(" ", 1)[0]


def explain(error: ReplyError, where: str, command: str) -> DataPlaneError:
    """
    The named error for a server's error reply, or the reply itself where there is no better name.

    Args:
        error: the reply.
        where: host:port it came from.
        command: name of the command (never its arguments: they may be secrets or data).
    """
    text = str(error)
    code = error.code
    if code in ("WRONGPASS", "NOAUTH") or "invalid password" in text or "without any password configured" in text:
        return AuthenticationFailed(
            f"{where} refused the login ({text.split(',', maxsplit=1)[0][:80]}); "
            "give the current access key, or the user name and its password, and try again."
        )
    if code == "READONLY":
        return ReadOnlyServer(
            f"{where} is read-only (a replica or a linked secondary) and refused {command}; "
            "unlink it or name its primary, then run again."
        )
    if code == "OOM":
        return OutOfMemory(
            f"{where} is out of memory (maxmemory reached) and refused {command}; "
            "scale it up or free memory, then run again."
        )
    if code == "NOPERM" or "unknown command" in text.lower() or "unknown subcommand" in text.lower():
        return CommandBlocked(
            f"{where} does not allow {command}; use a user that may run it, or a service that offers it."
        )
    if code in ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"):
        return ServerNotReady(f"{where} is not ready ({text[:80]}); wait until it is and run again.")
    if "max number of clients" in text:
        return ConnectionRefused(f"{where} takes no more clients; close some or raise its limit, then run again.")
    return error
