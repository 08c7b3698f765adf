"""
What the compiled loops (`pump.c` copies, `verify/compare.c` compares) share: compiling, bytes in and out, rare keys.

Compiled with the machine's C compiler when first needed, and kept in the user's cache folder by the hash of the text.
Where there is no compiler, or REDISMOVE_NATIVE=0, everything works through the Python path, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from redismove.dataplane.connect import Connection
from redismove.dataplane.errors import ProtocolViolation

NATIVE_VARIABLE = "REDISMOVE_NATIVE"
RARE_AT_ONCE = 5000
"""Each look at rare keys costs round trips in which nothing else moves: so many at once, or at the end."""
_FOLDER = Path(__file__).parent
_U8P = ctypes.POINTER(ctypes.c_uint8)

Signatures = Mapping[str, tuple[object, list[object]]]
"""Result and arguments of each function, by name."""


def compiled(source: Path, stats: type[ctypes.Structure], signatures: Signatures) -> ctypes.CDLL | None:
    """
    Load a loop, compiled before or now; None where that cannot be done or is switched off.

    Args:
        source: its file of C, which may include the headers of this folder.
        stats: what `rm_stats` gives.
        signatures: of its own functions; those of `loop.h` are known here.
    """
    if os.environ.get(NATIVE_VARIABLE) == "0" or sys.byteorder != "little":
        return None
    try:
        return _declare(ctypes.CDLL(str(_built(source))), source, stats, signatures)
    except (OSError, subprocess.SubprocessError):
        return None


def _built(source: Path) -> Path:
    text = b"".join(path.read_bytes() for path in (source, *sorted(_FOLDER.glob("*.h"))))
    folder = f"{source.stem}-{hashlib.sha256(text).hexdigest()[:16]}"
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache_home / "redismove" / folder / f"{source.stem}.so"
    if not path.exists():
        _compile(source, path)
    return path


def _compile(source: Path, path: Path) -> None:
    compiler = next(
        (found for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and (found := shutil.which(name))), ""
    )
    if not compiler:
        raise FileNotFoundError("no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".so")
    os.close(descriptor)
    command = [compiler, "-O3", "-std=c11", "-shared", "-fPIC", "-o", temporary, str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Path(temporary).replace(path)  # whole or not at all, also when two of us compile at once
    finally:
        Path(temporary).unlink(missing_ok=True)


def _declare(lib: ctypes.CDLL, source: Path, stats: type[ctypes.Structure], signatures: Signatures) -> ctypes.CDLL:
    pointer, u64, size, number = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int
    text_p = ctypes.POINTER(ctypes.c_char_p)
    shared: Signatures = {
        "rm_stats": (ctypes.POINTER(stats), [pointer]),
        "rm_stats_size": (size, []),
        "rm_out": (size, [pointer, number, ctypes.POINTER(_U8P)]),
        "rm_sent": (None, [pointer, number, size]),
        "rm_room": (size, [pointer, number, size, ctypes.POINTER(_U8P)]),
        "rm_due": (number, [pointer, number]),
        "rm_next_rare": (
            number,
            [
                *(pointer, ctypes.POINTER(_U8P), ctypes.POINTER(ctypes.c_uint32)),
                *(ctypes.POINTER(number), ctypes.POINTER(u64), text_p),
            ],
        ),
        "rm_free_key": (None, [_U8P]),
        "rm_rare_done": (None, [pointer, u64]),
        "rm_free": (None, [pointer]),
    }
    for name, (result, arguments) in {**shared, **signatures}.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.rm_stats_size() != ctypes.sizeof(stats):
        raise OSError(f"{source.name} and its Python do not fit each other")
    return lib


def slots_table(line_of_slot: Sequence[int] | None) -> Any:
    """The node numbers of 16384 slots as C takes them; None when there is one node."""
    return (ctypes.c_uint16 * 16384)(*line_of_slot) if line_of_slot is not None else None


@dataclass
class Rare:
    """A key that needs Python: why, and the server's words where there are any."""

    key: bytes
    why: int
    text: str
    batch: int


class CompiledLoop:
    """
    A pass that C walks and Python drives.

    Attributes:
        lines: numbers and connections.
        stats: how far it is.
    """

    receive_bytes: ClassVar[int] = 1 << 19

    def __init__(self, lib: ctypes.CDLL, handle: int, lines: Sequence[tuple[int, Connection]]) -> None:
        """Take over what `rm_new` gave."""
        self._lib, self._handle, self.lines = lib, handle, list(lines)
        self.stats: Any = lib.rm_stats(handle).contents
        self._data = _U8P()

    def close(self) -> None:
        """Free its memory."""
        if self._handle:
            self._lib.rm_free(self._handle)
            self._handle = 0

    @property
    def safe_cursor(self) -> str:
        """Every key that SCAN gave before this cursor is dealt with."""
        return str(self.stats.safe_cursor.decode())

    def rare(self) -> list[Rare]:
        """The keys for Python; each must be given to `rare_done` afterwards."""
        found: list[Rare] = []
        key, size, why = _U8P(), ctypes.c_uint32(), ctypes.c_int()
        batch, text = ctypes.c_uint64(), ctypes.c_char_p()
        while self._lib.rm_next_rare(self._handle, *(ctypes.byref(item) for item in (key, size, why, batch, text))):
            words = (text.value or b"").decode("utf-8", "replace")
            found.append(Rare(ctypes.string_at(key, size.value), why.value, words, batch.value))
            self._lib.rm_free_key(key)
        return found

    def rares_are_due(self) -> bool:
        """Tell whether enough keys wait for Python, or nothing else is left to do."""
        stats = self.stats
        idle = stats.scan_finished and not stats.in_flight and not stats.queued
        return bool(stats.list_length and (idle or stats.list_length >= RARE_AT_ONCE))

    def has_output(self, no: int) -> bool:
        """Tell whether something waits to be sent there."""
        return bool(self._lib.rm_out(self._handle, no, ctypes.byref(self._data)))

    def _received(self, no: int, size: int) -> None:
        self._lib.rm_received(self._handle, no, size)

    def _flush(self, no: int, connection: Connection) -> bool:
        """Send what the socket takes; tell whether anything went."""
        moved = False
        while size := self._lib.rm_out(self._handle, no, ctypes.byref(self._data)):
            address = ctypes.addressof(self._data.contents)
            sent = connection.send_some(memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B"))
            if not sent:
                break
            self._lib.rm_sent(self._handle, no, sent)
            moved = True
        return moved

    def _fill(self, no: int, connection: Connection) -> bool:
        moved = False
        while True:
            size = self._lib.rm_room(self._handle, no, self.receive_bytes, ctypes.byref(self._data))
            address = ctypes.addressof(self._data.contents)
            received = connection.receive_into(memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B"))
            if not received:
                return moved
            self._received(no, received)
            moved = True
            if not connection.holds_received:
                return True

    def _check(self, moved_at: float) -> None:
        if self.stats.failed:
            where = self.lines[0][1].where
            raise ProtocolViolation(
                f"{where} or the other side gave an answer that does not fit its question "
                f"({'an error to SCAN or TIME' if self.stats.failed == 2 else 'unexpected type'}); "
                f"set {NATIVE_VARIABLE}=0 to see which, and report it."
            )
        for no, connection in self.lines:
            if time.monotonic() - moved_at > connection.timeout_s and self._lib.rm_due(self._handle, no):
                connection.give_up()
