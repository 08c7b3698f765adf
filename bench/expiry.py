"""How far the expiries on the target are from the source's, after a copy."""

from __future__ import annotations

from redismove.dataplane.connect import Connection, Packed, exchange, time_ms
from redismove.dataplane.keys import keyed

GROUP = 500
_TRIES = 5
_QUICK_MS = 1
"""PTTL says what is left: the clock is read before and after, and must not have moved further meanwhile."""


def differences_ms(source: Connection, target: Connection) -> list[float]:
    """
    Walk over the source; for each of its keys with an expiry, how far the target's is from it, in ms.

    Both expiries are made absolute by the clock of their own server (PEXPIRETIME is there from 7.0 on only), and the
    clocks of two servers on one machine are one.
    """
    found: list[float] = []
    cursor = b"0"
    while True:
        cursor, keys = source.call("SCAN", cursor, "COUNT", 1000)
        for start in range(0, len(keys), GROUP):
            some = keys[start : start + GROUP]
            pairs = zip(_expiries_ms(source, some), _expiries_ms(target, some), strict=True)
            for here, there in pairs:
                if here is None and there is None:
                    continue
                found.append(float("inf") if here is None or there is None else abs(here - there))
        if cursor == b"0":
            return found


def _expiries_ms(connection: Connection, keys: list[bytes]) -> list[float | None]:
    """Absolute, to half the time that the server took; None for a key without."""
    clock = b"*1\r\n$4\r\nTIME\r\n"
    request = Packed(clock + keyed("PTTL", keys) + clock, len(keys) + 2)
    best: tuple[int, list[int], float] | None = None
    for _ in range(_TRIES):
        before, *left_ms, after = exchange([(connection, request)])[0]
        took_ms = time_ms(after) - time_ms(before)
        if best is None or took_ms < best[0]:
            best = took_ms, left_ms, (time_ms(before) + time_ms(after)) / 2
        if took_ms <= _QUICK_MS:
            break
    assert best is not None
    _, left_ms, now_ms = best
    return [now_ms + left if left >= 0 else None for left in left_ms]
