"""The pieces of the dual-write client that need no server: queue, settings, cursors, stores, imports."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import redismove.dual_write
from redismove.dual_write import (
    AppConfigurationEndpointStore,
    DualWriteRedis,
    DualWriteSettings,
    IterationLost,
    MemoryEndpointStore,
    SettingInvalid,
)
from redismove.dual_write.carrying import Verdict
from redismove.dual_write.commands import understand
from redismove.dual_write.pending import LATER_LIMIT, Pending
from redismove.dual_write.routing import Breaker, cursor_in, cursor_out, entry_of_role, verdict
from redismove.endpoint import (
    DualWrite,
    Endpoint,
    EndpointEntry,
    EndpointError,
    EndpointInvalid,
    EndpointMissing,
    EndpointMoved,
)

OLD = EndpointEntry(host="127.1.2.3", port=6380, tls=True, clustered=False, resource_id="/old", role="source")
NEW = EndpointEntry(host="127.1.2.4", port=6380, tls=True, clustered=False, resource_id="/new", role="target")
BOTH = Endpoint(entry=OLD, dual_write=DualWrite(mode="write-both", second=NEW))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At 0 s."""
    return Clock()


@pytest.fixture
def pending(clock: Clock) -> Pending:
    """Room for three keys."""
    return Pending(max_keys=3, clock=clock)


# -- the queue ------------------------------------------------------------------------------------------------------


def test_many_writes_to_one_key_are_one_entry_in_the_order_of_the_first(pending: Pending) -> None:
    pending.mark([b"a"])
    pending.mark([b"b", b"b"])
    pending.mark([b"a"])

    assert list(pending.take(10)) == [b"a", b"b"]
    assert pending.take(10) == {b"a": 3, b"b": 2}
    assert pending.counters.marked == 3


def test_a_mark_that_came_while_the_key_was_carried_stays(pending: Pending) -> None:
    pending.mark([b"a"])
    taken = pending.take(10)
    pending.mark([b"a"])
    pending.done(b"a", taken[b"a"])
    assert pending.behind([b"a"])
    pending.done(b"a", pending.take(10)[b"a"])

    assert not pending.behind([b"a"])
    assert pending.idle


def test_what_does_not_fit_is_a_gap_until_a_sweep_has_begun_after_it(pending: Pending) -> None:
    pending.mark([b"a", b"b", b"c"])
    assert not pending.behind([b"d"])
    assert not pending.mark([b"d"]).complete
    first = pending.gap()
    assert first is not None
    assert pending.behind([b"anything"])
    pending.mark([b"e"])
    assert not pending.close_gap(first), "something was lost after that sweep began"
    assert pending.close_gap(pending.gap() or 0)

    assert not pending.behind([b"d"])
    assert (pending.counters.overflowed, pending.counters.gaps) == (2, 1)


def test_names_of_keys_are_bounded_in_bytes(clock: Clock) -> None:
    pending = Pending(max_keys=100, max_bytes=10, clock=clock)
    pending.mark([b"x" * 6])
    pending.mark([b"y" * 6])
    assert (len(pending), pending.gap() is not None) == (1, True)
    pending.done(b"x" * 6, 1)
    pending.mark([b"z" * 10])

    assert list(pending.take(10)) == [b"z" * 10]


def test_a_write_of_unknown_outcome_is_carried_twice(pending: Pending, clock: Clock) -> None:
    pending.mark([b"a"], again_after_s=5)
    pending.done(b"a", pending.take(10)[b"a"])
    assert (len(pending), pending.idle, pending.next_due_s()) == (0, False, 5)
    clock.now = 5
    pending.done(b"a", pending.take(10)[b"a"])

    assert pending.idle


def test_more_unknown_outcomes_than_are_remembered_are_a_gap(pending: Pending) -> None:
    for _ in range(LATER_LIMIT):
        pending.mark([b"a"], again_after_s=5)
    assert pending.gap() is None
    pending.mark([b"a"], again_after_s=5)

    assert pending.gap() is not None


def test_what_is_postponed_waits_behind_the_others(pending: Pending, clock: Clock) -> None:
    pending.mark([b"a", b"b"])
    pending.postpone(b"a", 2)
    assert list(pending.take(10)) == [b"b"]
    pending.done(b"b", 1)
    assert pending.next_due_s() == 2
    clock.now = 2

    assert list(pending.take(10)) == [b"a"]


def test_who_waits_is_told_when_his_keys_are_there_and_only_once(pending: Pending) -> None:
    told: list[str] = []
    number = pending.mark([b"a", b"b"]).number
    waiter = pending.wait_for([b"a", b"b"], number, lambda: told.append("waiter"))
    pending.when_idle(lambda: told.append("idle"))
    pending.done(b"a", number)
    pending.mark([b"b"])
    pending.done(b"b", number)
    assert told == ["waiter"]
    assert waiter is not None
    pending.done(b"b", pending.take(10)[b"b"])

    assert told == ["waiter", "idle"]
    assert pending.wait_for([b"a"], number, lambda: None) is None


def test_an_older_state_does_not_satisfy_who_waits(pending: Pending) -> None:
    told: list[str] = []
    taken = {b"a": pending.mark([b"a"]).number}
    number = pending.mark([b"a"]).number
    waiter = pending.wait_for([b"a"], number, lambda: told.append("told"))
    pending.done(b"a", taken[b"a"])
    assert told == []
    assert waiter is not None
    pending.forget(waiter)
    pending.done(b"a", number)

    assert told == []


def test_dropping_tells_everybody_and_counts(pending: Pending) -> None:
    told: list[str] = []
    number = pending.mark([b"a"], again_after_s=5).number
    pending.wait_for([b"a"], number, lambda: told.append("waiter"))
    pending.when_idle(lambda: told.append("idle"))

    assert pending.drop() == 2
    assert (sorted(told), pending.idle, pending.counters.dropped) == (["idle", "waiter"], True, 2)


def test_it_says_how_long_the_oldest_has_waited(pending: Pending, clock: Clock) -> None:
    assert pending.oldest_s() == 0
    pending.mark([b"a"])
    clock.now = 3

    assert pending.oldest_s() == 3


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"when_second_fails": "ignore"}, "when_second_fails is 'ignore', allowed are queue, raise"),
        ({"when_gap": "x"}, "when_gap is 'x', allowed are sweep, report"),
        ({"max_pending_keys": 0}, "max_pending_keys is 0, allowed is a number above 0"),
        ({"settle_s": -1}, "settle_s is -1, allowed is 0 or more"),
        ({"wait_s": -1}, "wait_s is -1, allowed is None, 0 or more"),
        ({"wait_s": 0, "when_second_fails": "raise"}, 'allowed above 0 with when_second_fails="raise"'),
        ({"allow_flush": True, "when_gap": "report"}, "allow_flush is True, allowed only with when_gap"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingInvalid, match=sentence):
        DualWriteSettings(**changes)


@pytest.mark.parametrize("option", ["host", "password", "ssl", "connection_pool", "single_connection_client", "cache"])
def test_an_option_that_has_no_meaning_is_refused(option: str) -> None:
    with pytest.raises(SettingInvalid, match=f"option {option} is not possible with dual-write: .+; leave it out"):
        DualWriteRedis(MemoryEndpointStore(), lambda _: (None, ""), **{option: "x"})


def test_how_long_a_write_waits_for_the_second_cache() -> None:
    assert DualWriteSettings().wait_for_second_s("write-both") == 0
    assert DualWriteSettings().wait_for_second_s("read-new") == 0.25
    assert DualWriteSettings(when_second_fails="raise").wait_for_second_s("write-both") == 0.25
    assert DualWriteSettings(wait_s=2).wait_for_second_s("write-both") == 2


# -- routing --------------------------------------------------------------------------------------------------------


def test_carrying_is_allowed_only_between_the_two_that_the_endpoint_names() -> None:
    assert verdict(BOTH, OLD, NEW) is Verdict.GO
    assert verdict(dataclasses.replace(BOTH, state="hold"), OLD, NEW) is Verdict.HOLD
    assert verdict(dataclasses.replace(BOTH, dual_write=DualWrite(mode="off", second=NEW)), OLD, NEW) is Verdict.OVER
    assert verdict(Endpoint(entry=NEW), OLD, NEW) is Verdict.OVER
    assert verdict(BOTH, OLD, dataclasses.replace(NEW, port=1)) is Verdict.OVER


@pytest.mark.parametrize("entry", [OLD, NEW])
def test_a_cursor_tells_whose_it_is(entry: EndpointEntry) -> None:
    call = understand(("SCAN", 0))
    ours = cursor_out(2**63 + 7, entry)

    assert cursor_in(("SCAN", ours, "COUNT", 5), call) == (["SCAN", 2**63 + 7, "COUNT", 5], entry.role)
    assert cursor_in(("SCAN", str(ours)), call)[1] == entry.role
    assert (cursor_out(0, entry), cursor_in(("SCAN", b"0"), call)) == (0, (["SCAN", 0], None))
    assert cursor_in(("SCAN", "x"), call) == (["SCAN", "x"], None)


def test_an_iteration_goes_on_while_its_cache_is_in_use() -> None:
    assert entry_of_role("source", BOTH) == OLD
    assert entry_of_role("target", BOTH) == NEW
    with pytest.raises(IterationLost):
        entry_of_role("target", Endpoint(entry=OLD))
    with pytest.raises(IterationLost):
        entry_of_role("source", Endpoint(entry=NEW))


def test_a_breaker_rests_for_as_long_as_it_was_told(clock: Clock) -> None:
    breaker = Breaker(2, clock)
    assert breaker.closed
    breaker.trip()
    assert not breaker.closed
    clock.now = 2

    assert breaker.closed


# -- stores ---------------------------------------------------------------------------------------------------------


class HttpError(Exception):
    """As azure.core's."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"({status_code}) secret=abc")
        self.status_code = status_code


@dataclasses.dataclass
class Setting:
    """As the SDK's ConfigurationSetting."""

    key: str
    label: str | None
    value: str
    content_type: str = ""
    etag: int = 0


class AppConfiguration:
    """As the SDK's client, with its settings in memory."""

    def __init__(self) -> None:
        self.settings: dict[tuple[str, str | None], Setting] = {}
        self.down = False

    def get_configuration_setting(self, key: str, label: str | None = None) -> Setting:
        if self.down:
            raise HttpError(503)
        if (key, label) not in self.settings:
            raise HttpError(404)
        return dataclasses.replace(self.settings[key, label])

    def add_configuration_setting(self, configuration_setting: Setting) -> None:
        where = (configuration_setting.key, configuration_setting.label)
        if where in self.settings:
            raise HttpError(412)
        self.settings[where] = configuration_setting

    def set_configuration_setting(self, configuration_setting: Setting, match_condition: Any = None) -> None:
        where = (configuration_setting.key, configuration_setting.label)
        assert match_condition == "unmodified"
        if self.settings[where].etag != configuration_setting.etag:
            raise HttpError(412)
        self.settings[where] = dataclasses.replace(configuration_setting, etag=configuration_setting.etag + 1)


def test_the_document_may_be_a_value_in_app_configuration() -> None:
    client = AppConfiguration()
    store = AppConfigurationEndpointStore(client, "cache", label="prod", unmodified="unmodified", setting=Setting)
    with pytest.raises(EndpointMissing, match=r"at App Configuration 'cache' \(label 'prod'\)"):
        store.read()
    store.put(OLD)
    store.set_dual_write("write-both", NEW)
    assert store.read().dual_write == DualWrite(mode="write-both", second=NEW)
    with pytest.raises(EndpointMoved, match="generation 2, expected 1"):
        store.replace(Endpoint(entry=OLD), expected_generation=1)

    read = client.get_configuration_setting

    def and_changed(key: str, label: str | None = None) -> Setting:
        found = read(key, label)
        client.settings[key, label].etag += 1
        return found

    client.get_configuration_setting = and_changed  # type: ignore[method-assign]
    with pytest.raises(EndpointMoved, match="generation unknown"):
        store.hold(5)
    client.get_configuration_setting = read  # type: ignore[method-assign]
    client.down = True
    with pytest.raises(EndpointError, match=r"cannot be read: HttpError, status 503$") as caught:
        store.read()
    assert "secret" not in str(caught.value)


def test_an_application_only_reads_app_configuration() -> None:
    client = AppConfiguration()
    AppConfigurationEndpointStore(client, "cache", unmodified="unmodified", setting=Setting).put(OLD)
    reading = AppConfigurationEndpointStore(client, "cache")
    assert reading.read().entry == OLD
    with pytest.raises(EndpointError, match="is only read here"):
        reading.hold(5)
    with pytest.raises(EndpointError, match="give setting=ConfigurationSetting"):
        AppConfigurationEndpointStore(client, "other", unmodified="unmodified").put(OLD)
    client.settings["cache", None].value = "{"
    with pytest.raises(EndpointInvalid, match="is not JSON"):
        reading.read()


def test_the_document_may_be_in_memory() -> None:
    store = MemoryEndpointStore()
    with pytest.raises(EndpointMissing):
        store.read()
    store.put(OLD)
    before = store.stamp()
    store.set_dual_write("write-both", NEW)
    assert store.stamp() != before
    with pytest.raises(EndpointMoved, match="generation 2, expected 1"):
        store.replace(Endpoint(entry=OLD), expected_generation=1)


# -- the room -------------------------------------------------------------------------------------------------------


def test_the_room_imports_what_applications_have() -> None:
    """No Pulumi, no SDK of Azure, no rules, nothing of the data plane: an application installs redis-py for it."""
    allowed = {"redis", "redismove.dual_write", "redismove.admission", "redismove.application"}
    allowed |= {"redismove.endpoint", "redismove.errors"}
    for path in Path(redismove.dual_write.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                known = name.split(".")[0] in sys.stdlib_module_names
                assert known or any(name == one or name.startswith(f"{one}.") for one in allowed), (path.name, name)
