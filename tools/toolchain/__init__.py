"""Brings what redismove needs to this machine: Python packages, Pulumi, redis-server.

`python3 tools/bootstrap.py` runs it, before the virtual environment exists: only the standard library here.
It reaches package registries alone (PyPI, the Go module proxy, Debian's archive, Pulumi's own downloads where they
can be reached), needs no root, and leaves tools in the user's cache folder, where the next clone finds them.
"""
