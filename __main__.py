"""One cache on its way to another region; `redismove:stage` says how far."""

import pulumi

from components.cache_move import CacheMove
from redismove import settings
from redismove.errors import RedismoveError


def main() -> None:
    """Read the configuration, declare the move, export what it says."""
    config = {key: value for key, value in pulumi.runtime.config.CONFIG.items() if key.startswith("redismove:")}
    try:
        move = CacheMove("move", settings.read(config))
    except RedismoveError as error:
        # A sentence for people, not a traceback.
        raise pulumi.RunError(str(error)) from None
    for name, value in move.outputs.items():
        pulumi.export(name, value)


main()
