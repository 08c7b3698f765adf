"""`redismove local`: an Azure on this machine; the only command that knows the package `localazure`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from localazure.errors import LocalAzureError
from localazure.home import DEFAULT_HOME, Home

app = typer.Typer(help="An Azure on this machine: start, stop, seed a cache.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the local Azure; several can run side by side.")]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what a user can cause into one line on stderr and exit status 1."""
    try:
        yield
    except LocalAzureError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def start(
    *,
    home: HomeOption = DEFAULT_HOME,
    durations: Annotated[
        str | None, typer.Option(help="How long operations take: `short` (the default), `real`, as on Azure.")
    ] = None,
    retired: Annotated[
        list[str] | None,
        typer.Option(help="A region in which creation is refused since the product retires; repeatable."),
    ] = None,
    client_pause: Annotated[
        str | None,
        typer.Option(help="CLIENT PAUSE as in Redis 6.0 (the default, as on Azure) or 6.2 (WRITE, UNPAUSE)."),
    ] = None,
    memory_scale: Annotated[
        float | None, typer.Option(help="What a cache's memory is divided by (default 16).")
    ] = None,
    admin: Annotated[bool | None, typer.Option(help="Answer the fault-injection endpoint.")] = None,
) -> None:
    """Start the local Azure in the background and wait until it answers; switches are kept for the next start."""
    with _one_sentence():
        folder = Home(home)
        folder.create()
        given = {
            "durations": durations,
            "retired": retired,
            "client_pause": client_pause,
            "memory_scale": memory_scale,
            "admin": admin,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if changes:
            folder.change_settings(**changes)
        from localazure import launcher

        typer.echo(launcher.start(folder))


@app.command()
def stop(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop the local Azure and its redis-servers; everything is there again after the next start."""
    with _one_sentence():
        from localazure import launcher

        typer.echo(launcher.stop(Home(home)))


@app.command()
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Say whether the local Azure runs; exit status 1 when it does not."""
    with _one_sentence():
        from localazure import launcher

        runs, line = launcher.status(Home(home))
        typer.echo(line)
    if not runs:
        raise typer.Exit(1)


@app.command()
def env(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the environment for Pulumi, azure-cli and the SDKs: `eval "$(redismove local env)"`."""
    with _one_sentence():
        from localazure import launcher

        typer.echo(launcher.export_lines(Home(home)))


@app.command()
def seed(
    name: Annotated[str, typer.Argument(help="Name of the cache to make.")],
    *,
    keys: Annotated[int, typer.Option(min=0, help="How many keys to fill it with.")] = 1000,
    sku: Annotated[
        str,
        typer.Option(help="Size: C0 to C6 (Standard; `basic-C0` for Basic), P1 to P5, Balanced_B5, Enterprise_E10."),
    ] = "P1",
    location: Annotated[str, typer.Option(help="Region.")] = "eastus",
    resource_group: Annotated[str, typer.Option(help="Resource group; made when it is not there.")] = "rg-demo",
    shards: Annotated[int, typer.Option(min=0, help="Shards of a clustered Premium cache; 0: not clustered.")] = 0,
    notify: Annotated[str, typer.Option(help="notify-keyspace-events, for example KEA.")] = "",
    databases: Annotated[int | None, typer.Option(min=1, help="Number of databases.")] = None,
    zones: Annotated[str, typer.Option(help="`none`, `auto`, or zones such as 1,2,3.")] = "none",
    rdb_backup: Annotated[bool, typer.Option("--rdb-backup", help="Switch RDB persistence on.")] = False,
    replicas: Annotated[int | None, typer.Option(min=1, help="Replicas per primary (Premium).")] = None,
    non_ssl_port: Annotated[bool, typer.Option("--non-ssl-port", help="Enable the port without TLS.")] = False,
    subscription: Annotated[int, typer.Option(min=1, max=2, help="Which of the two subscriptions.")] = 1,
    client_pause: Annotated[str | None, typer.Option(help="CLIENT PAUSE of this cache: 6.0 or 6.2.")] = None,
    clustering_policy: Annotated[
        str, typer.Option(help="OSSCluster, EnterpriseCluster or NoCluster of a managed cache.")
    ] = "OSSCluster",
    tag: Annotated[list[str] | None, typer.Option(help="A tag, NAME=VALUE; repeatable.")] = None,
    random_seed: Annotated[int, typer.Option(help="The same number makes the same data.")] = 1,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a cache through ARM, as someone would in the portal, and fill it with keys of all types."""
    with _one_sentence():
        from localazure import seeding

        wish = seeding.Wish(
            name=name,
            keys=keys,
            sku=sku,
            location=location,
            resource_group=resource_group,
            shards=shards,
            notify=notify,
            databases=databases,
            zones=zones,
            rdb_backup=rdb_backup,
            replicas=replicas,
            non_ssl_port=non_ssl_port,
            subscription=subscription,
            client_pause=client_pause,
            clustering_policy=clustering_policy,
            tags=dict(entry.partition("=")[::2] for entry in tag or []),
            random_seed=random_seed,
        )
        typer.echo(seeding.seed(Home(home), wish))


if __name__ == "__main__":
    app()
