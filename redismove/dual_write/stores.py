"""
Further places for the Endpoint document: a key on a Redis, a value in Azure App Configuration, and memory.

A file is read within microseconds; these take a journey (`remote`), so a client believes what it read for longer
(`poll_s`), and a cut-over or a change of mode reaches it as much later. Keep the document off the cache that moves: it
must be readable when that one is fenced.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

import redis
from redis.exceptions import RedisError, WatchError

from redismove.endpoint import (
    Endpoint,
    EndpointError,
    EndpointInvalid,
    EndpointMissing,
    EndpointMoved,
    EndpointStore,
    _now,
)


def _parse(text: str | bytes, where: str) -> Endpoint:
    try:
        fields = json.loads(text)
    except ValueError:
        raise EndpointInvalid(f"the Endpoint document at {where} is not JSON") from None
    if not isinstance(fields, dict):
        raise EndpointInvalid(f"the Endpoint document at {where} is not a JSON object")
    return Endpoint.from_dict(fields)


def _moved(where: str, found: object, expected: int | None) -> EndpointMoved:
    return EndpointMoved(
        f"the Endpoint document at {where} was replaced meanwhile: generation {found}, expected {expected}; "
        "is another cut-over running?"
    )


class MemoryEndpointStore(EndpointStore):
    """The document in this process: for tests, and for an application that gets it in a way of its own."""

    remote: Final = False

    def __init__(self, document: Endpoint | None = None, *, clock: Callable[[], str] = _now) -> None:
        super().__init__(clock=clock)
        self._lock = threading.Lock()
        self._document = document

    def __repr__(self) -> str:
        return "MemoryEndpointStore()"

    def read(self) -> Endpoint:
        """Return the document. Raises EndpointMissing."""
        if self._document is None:
            raise EndpointMissing("there is no Endpoint document in memory")
        return self._document

    def replace(self, document: Endpoint, *, expected_generation: int | None) -> None:
        """Replace it if its generation is still *expected_generation*."""
        with self._lock:
            found = None if self._document is None else self._document.generation
            if found != expected_generation:
                raise _moved("memory", found, expected_generation)
            self._document = document

    def stamp(self) -> object:
        """Return the generation."""
        return None if self._document is None else self._document.generation


class RedisKeyEndpointStore(EndpointStore):
    """
    The document as a string key on a Redis that does not move.

    Args:
        client: a redis-py client of that Redis, synchronous and not a cluster's.
        key: the key's name.
    """

    remote: Final = True

    def __init__(self, client: redis.Redis, key: str, *, clock: Callable[[], str] = _now) -> None:
        super().__init__(clock=clock)
        self._client = client
        self._key = key
        self._where = f"key {key!r}"

    def __repr__(self) -> str:
        return f"RedisKeyEndpointStore({self._key!r})"

    def read(self) -> Endpoint:
        """Return the document in the key. Raises EndpointMissing, EndpointInvalid, EndpointError."""
        try:
            text: Any = self._client.get(self._key)
        except RedisError as error:
            raise self._unreachable("read", error) from None
        if text is None:
            raise EndpointMissing(f"there is no Endpoint document at {self._where}")
        return _parse(text, self._where)

    def replace(self, document: Endpoint, *, expected_generation: int | None) -> None:
        """Replace it in a transaction that watches the key."""
        try:
            with self._client.pipeline() as pipeline:
                pipeline.watch(self._key)
                text: Any = pipeline.get(self._key)
                found = None if text is None else _parse(text, self._where).generation
                if found != expected_generation:
                    raise _moved(self._where, found, expected_generation)
                pipeline.multi()
                pipeline.set(self._key, json.dumps(document.to_dict()))
                pipeline.execute()
        except WatchError:
            raise _moved(self._where, "unknown", expected_generation) from None
        except RedisError as error:
            raise self._unreachable("written", error) from None

    def _unreachable(self, what: str, error: Exception) -> EndpointError:
        return EndpointError(f"the Endpoint document at {self._where} cannot be {what}: {type(error).__name__}")


class AppConfigurationClient(Protocol):
    """What is used of `azure.appconfiguration.AzureAppConfigurationClient`."""

    def get_configuration_setting(self, key: str, label: str | None = None) -> Any:
        """Return a setting with `value` and `etag`."""

    def set_configuration_setting(self, configuration_setting: Any, match_condition: Any = None) -> Any:
        """Replace a setting."""

    def add_configuration_setting(self, configuration_setting: Any) -> Any:
        """Make a setting that is not there."""


_NOT_FOUND: Final = 404
_CONFLICTS: Final = (409, 412)


class AppConfigurationEndpointStore(EndpointStore):
    """
    The document as a value in Azure App Configuration.

    The client comes from the application, which has the SDK and the identity; nothing of Azure is imported here. To
    write (`pulumi up` does, applications do not) it also takes the SDK's own words for "only if nobody else has":

        AppConfigurationEndpointStore(
            AzureAppConfigurationClient(url, DefaultAzureCredential()), "cache/endpoint",
            unmodified=MatchConditions.IfNotModified, setting=ConfigurationSetting,
        )

    Args:
        client: the SDK's client.
        key: of the setting.
        label: of the setting.
        unmodified: `azure.core.MatchConditions.IfNotModified`; without it the store only reads.
        setting: `azure.appconfiguration.ConfigurationSetting`; without it a first document cannot be made.

    Source: azure-sdk-for-python, azure-appconfiguration 1.10 (get, add and set_configuration_setting; errors carry
    `status_code`).
    """

    remote: Final = True

    def __init__(
        self,
        client: AppConfigurationClient,
        key: str,
        *,
        label: str | None = None,
        unmodified: Any = None,
        setting: Callable[..., Any] | None = None,
        clock: Callable[[], str] = _now,
    ) -> None:
        super().__init__(clock=clock)
        self._client = client
        self._key = key
        self._label = label
        self._unmodified = unmodified
        self._setting = setting
        self._where = f"App Configuration {key!r}" + (f" (label {label!r})" if label else "")

    def __repr__(self) -> str:
        return f"AppConfigurationEndpointStore({self._key!r}, label={self._label!r})"

    def read(self) -> Endpoint:
        """Return the document in the setting. Raises EndpointMissing, EndpointInvalid, EndpointError."""
        found = self._get()
        if found is None:
            raise EndpointMissing(f"there is no Endpoint document at {self._where}")
        return _parse(found.value or "", self._where)

    def replace(self, document: Endpoint, *, expected_generation: int | None) -> None:
        """Replace the value if its etag is still that of the expected generation."""
        if self._unmodified is None:
            raise EndpointError(
                f"{self._where} is only read here: give unmodified=MatchConditions.IfNotModified to write"
            )
        found = self._get()
        generation = None if found is None else _parse(found.value or "", self._where).generation
        if generation != expected_generation:
            raise _moved(self._where, generation, expected_generation)
        value = json.dumps(document.to_dict())
        if found is None and self._setting is None:
            raise EndpointError(f"{self._where} has no document yet: give setting=ConfigurationSetting to make one")
        try:
            if found is None:
                assert self._setting is not None
                self._client.add_configuration_setting(
                    self._setting(key=self._key, label=self._label, value=value, content_type="application/json")
                )
            else:
                found.value = value
                self._client.set_configuration_setting(found, match_condition=self._unmodified)
        except Exception as error:  # noqa: BLE001  the SDK's errors are not imported here
            if _status(error) in _CONFLICTS or type(error).__name__ in ("ResourceModifiedError", "ResourceExistsError"):
                raise _moved(self._where, "unknown", expected_generation) from None
            raise self._unreachable("written", error) from None

    def _get(self) -> Any:
        try:
            return self._client.get_configuration_setting(key=self._key, label=self._label)
        except Exception as error:  # noqa: BLE001  the SDK's errors are not imported here
            if _status(error) == _NOT_FOUND:
                return None
            raise self._unreachable("read", error) from None

    def _unreachable(self, what: str, error: Exception) -> EndpointError:
        status = _status(error)
        why = type(error).__name__ + (f", status {status}" if status else "")
        return EndpointError(f"the Endpoint document at {self._where} cannot be {what}: {why}")


def _status(error: BaseException) -> int | None:
    return getattr(error, "status_code", None)
