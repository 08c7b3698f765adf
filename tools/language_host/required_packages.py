"""Tells which Pulumi plugins the packages of a Python environment need."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from language_host.environments import Package
from language_host.protocol import language_pb2, plugin_pb2

#: Pulumi packages of Python alone, without a provider behind them.
WITHOUT_PLUGIN = frozenset({"pulumi-policy", "pulumi-esc-sdk"})

_PRE_RELEASES = {"a": "alpha", "b": "beta", "rc": "rc"}
_PEP_440 = re.compile(
    r"(?P<release>\d+(\.\d+)*)"
    r"((?P<pre>a|b|rc)(?P<pre_number>\d+))?"
    r"(\.post(?P<post>\d+))?"
    r"(\.dev(?P<dev>\d+))?"
)


def required_packages(packages: Iterable[Package]) -> Iterator[plugin_pb2.PackageDependency]:
    """Give the plugin of each Pulumi package, as the engine wants it before it runs a program."""
    for package in packages:
        if package.name in WITHOUT_PLUGIN or not (package.plugin or package.name.startswith("pulumi-")):
            continue
        plugin = package.plugin or {}
        if package.plugin is not None and not plugin.get("resource", False):
            continue
        version = plugin.get("version") or plugin_version(package.version)
        if version is None:
            continue
        yield plugin_pb2.PackageDependency(
            name=plugin.get("name") or package.name.removeprefix("pulumi-"),
            version=version if version.startswith("v") else f"v{version}",
            kind="resource",
            server=plugin.get("server", ""),
            parameterization=_parameterization(plugin.get("parameterization")),
            extension=_parameterization(plugin.get("extensionParameterization")),
        )


def plugin_version(package_version: str) -> str | None:
    """Translate a Python package's version into its plugin's, for example 3.31.0a16 into 3.31.0-alpha.16.

    Args:
        package_version: a version as PEP 440 writes it.

    Returns:
        The version of the plugin, or None where it cannot be told (epochs, local versions).
    """
    found = _PEP_440.fullmatch(package_version)
    if found is None:
        return None
    segments = [*found["release"].split("."), "0", "0"]
    version = ".".join(segments[: max(3, len(segments) - 2)])
    if found["pre"]:
        version += f"-{_PRE_RELEASES[found['pre']]}.{found['pre_number']}"
    build = (f"post{found['post']}" if found["post"] else "") + (f"dev{found['dev']}" if found["dev"] else "")
    return f"{version}+{build}" if build else version


def dependency_infos(packages: Iterable[Package]) -> list[language_pb2.DependencyInfo]:
    """List packages as `pulumi about` shows them."""
    return [language_pb2.DependencyInfo(name=package.name, version=package.version) for package in packages]


def _parameterization(content: Mapping[str, Any] | None) -> plugin_pb2.PackageParameterization | None:
    if not content:
        return None
    return plugin_pb2.PackageParameterization(
        name=content["name"], version=content["version"], value=base64.b64decode(content.get("value") or "")
    )
