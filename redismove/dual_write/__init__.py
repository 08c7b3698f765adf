"""
Writing to two caches: the client for applications that move by method `dual-write`.

    from redismove.dual_write import DualWriteRedis

    redis = DualWriteRedis("/run/cache/endpoint.json", credentials)

See docs/howto/dual-write.md for what is guaranteed, and `carrying` for how.
"""

from redismove.dual_write.aio import AsyncDualWritePipeline, AsyncDualWriteRedis
from redismove.dual_write.client import DualWritePipeline, DualWriteRedis
from redismove.dual_write.errors import CommandRefused, DualWriteError, IterationLost, SecondWriteFailed
from redismove.dual_write.fallback import AsyncReadFallbackRedis, ReadFallbackRedis
from redismove.dual_write.settings import DualWriteSettings, SettingInvalid
from redismove.dual_write.statistics import DualWriteStats
from redismove.dual_write.stores import AppConfigurationEndpointStore, MemoryEndpointStore, RedisKeyEndpointStore

__all__ = [
    "AppConfigurationEndpointStore",
    "AsyncDualWritePipeline",
    "AsyncDualWriteRedis",
    "AsyncReadFallbackRedis",
    "CommandRefused",
    "DualWriteError",
    "DualWritePipeline",
    "DualWriteRedis",
    "DualWriteSettings",
    "DualWriteStats",
    "IterationLost",
    "MemoryEndpointStore",
    "ReadFallbackRedis",
    "RedisKeyEndpointStore",
    "SecondWriteFailed",
    "SettingInvalid",
]
