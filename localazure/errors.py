"""What goes wrong outside Azure's own protocol: starting, stopping, finding redis-server."""


class LocalAzureError(Exception):
    """Something a user can cause or cure, said in one sentence and printed without a traceback."""
