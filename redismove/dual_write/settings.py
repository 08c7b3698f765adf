"""How a dual-write client behaves; every default is the safe one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redismove.dual_write.errors import DualWriteError


class SettingInvalid(DualWriteError):
    """A setting out of its bounds."""


@dataclass(frozen=True, kw_only=True)
class DualWriteSettings:
    """
    What happens beside the first cache. The first cache always decides: a write that it refuses has not happened.

    Attributes:
        when_second_fails: "queue": the application is not told, the keys wait and are carried later (default). "raise":
            `SecondWriteFailed` when a write is not on the second cache within `wait_s`; the first one has it by then.
        wait_s: how long a write waits for the second cache, in seconds. None: not at all while the old cache is read,
            0.25 s while the new one is, so that other clients see it too. A second cache that is known to fail is not
            waited for.
        max_pending_keys: keys that may wait for the second cache; beyond it both caches are compared (a sweep).
        when_gap: "sweep": compare both caches and carry what differs, after the queue overflowed or a server came back
            as another process (a failover, a restart: writes may be lost there). "report": only count it; the
            cut-over compares everything anyway.
        carry_mb_per_s: how many MB of values a second are read from the first cache and written to the second.
        big_value_bytes: longer values are not carried by this client; the cut-over does.
        allow_flush: FLUSHDB is meant. It empties the first cache; the second follows key by key.
        timeout_s: how long a cache may take to answer this client's carrying, in seconds.
        settle_s: after so many seconds the keys of a write of unknown outcome are carried once more, in case the server
            ran it late.
        drain_s: how long `close` waits for the queue, in seconds.
        retry_read_s: after a read that the second cache failed, reads go to the first for so many seconds.
    """

    when_second_fails: Literal["queue", "raise"] = "queue"
    wait_s: float | None = None
    max_pending_keys: int = 100_000
    when_gap: Literal["sweep", "report"] = "sweep"
    carry_mb_per_s: float = 16.0
    big_value_bytes: int = 64 << 20
    allow_flush: bool = False
    timeout_s: float = 5.0
    settle_s: float = 5.0
    drain_s: float = 5.0
    retry_read_s: float = 1.0

    def __post_init__(self) -> None:
        """Raise SettingInvalid for what is out of bounds."""
        _one_of("when_second_fails", self.when_second_fails, ("queue", "raise"))
        _one_of("when_gap", self.when_gap, ("sweep", "report"))
        for name in ("max_pending_keys", "carry_mb_per_s", "big_value_bytes", "timeout_s"):
            if not getattr(self, name) > 0:
                raise SettingInvalid(f"setting {name} is {getattr(self, name)!r}, allowed is a number above 0")
        for name in ("settle_s", "drain_s", "retry_read_s"):
            if not getattr(self, name) >= 0:
                raise SettingInvalid(f"setting {name} is {getattr(self, name)!r}, allowed is 0 or more")
        if self.wait_s is not None and not self.wait_s >= 0:
            raise SettingInvalid(f"setting wait_s is {self.wait_s!r}, allowed is None, 0 or more")
        if self.allow_flush and self.when_gap != "sweep":
            raise SettingInvalid(
                'setting allow_flush is True, allowed only with when_gap="sweep", which empties the second'
            )
        if self.when_second_fails == "raise" and self.wait_s == 0:
            raise SettingInvalid('setting wait_s is 0, allowed above 0 with when_second_fails="raise"')

    def wait_for_second_s(self, mode: str) -> float:
        """Return how long a write waits in *mode*, in seconds."""
        if self.wait_s is not None:
            return self.wait_s
        return 0.25 if mode == "read-new" or self.when_second_fails == "raise" else 0.0


def _one_of(name: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise SettingInvalid(f"setting {name} is {found!r}, allowed are {', '.join(allowed)}")
