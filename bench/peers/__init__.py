"""Gateways of others beside coldseal: the same sensors, the same faults, one table.

`python -m bench.peers` installs each into an environment of its own, loads it, cuts its line, kills it, and
counts what its service was given. A peer that cannot be run is shown as not run, with the reason.
"""
