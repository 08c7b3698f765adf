"""What can go wrong between an application and two caches, each as one sentence."""

from __future__ import annotations

from redismove.errors import RedismoveError


class DualWriteError(RedismoveError):
    """Base of every error of the dual-write client that is not redis-py's own."""


class CommandRefused(DualWriteError):
    """A command that has no right meaning on two caches; nothing was sent."""

    def __init__(self, name: str, reason: str) -> None:
        """Refuse *name* because of *reason*, a clause that also says what to do instead."""
        super().__init__(f"{name} is not possible while two caches are written: {reason}")
        self.name = name
        self.reason = reason


class SecondWriteFailed(DualWriteError):
    """
    The first cache has taken a write and the second one has not yet; it waits in the queue.

    Only raised where the settings ask for it (`when_second_fails="raise"`).
    """


class IterationLost(DualWriteError):
    """A SCAN was begun on a cache that this client does not use any more."""
