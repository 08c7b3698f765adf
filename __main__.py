"""One cache on its way to another region; `redismove:stage` says how far."""

import pulumi
from pulumi.runtime.config import get_config_env

from components.cache_move import CacheMove
from redismove import settings
from redismove.errors import RedismoveError


def main() -> None:
    """Read the configuration, declare the move, export what it says."""
    # The whole configuration, not key by key: a misspelt key must be refused, not passed over.
    config = get_config_env()
    try:
        move = CacheMove("move", settings.read({key: config[key] for key in config if key.startswith("redismove:")}))
    except RedismoveError as error:
        # A sentence for people, not a traceback.
        raise pulumi.RunError(str(error)) from None
    for name, value in move.outputs.items():
        pulumi.export(name, value)


main()
