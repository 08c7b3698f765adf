"""
What a stage does, put together from Azure and the data plane; no Pulumi here.

The components call one function of this room each, so that a stage can be run, tested and timed without an engine.
"""
