"""Benchmarks of the data plane: `python -m bench` (or `make bench`)."""
