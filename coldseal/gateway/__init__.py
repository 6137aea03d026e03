"""The gateway: takes readings in, seals them, stores them, acknowledges, and passes them on.

The main path is `pipeline`; `sources`, `store` and `uplink` are its three sides. The rules of
the log live in `coldseal.core`, not here.
"""
