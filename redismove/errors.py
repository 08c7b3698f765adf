"""Errors that a user can act on; each room derives its own from `RedismoveError`."""


class RedismoveError(Exception):
    """
    Something a user can cause or cure, said in one sentence.

    The sentence names what happened, on which thing, what was found, what is allowed and what to do next; it is
    printed as it is, without a traceback, and never contains a secret.
    """
