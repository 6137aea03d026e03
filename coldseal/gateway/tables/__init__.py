"""The tables of ``gateway.toml``: every setting, its limits, its default and its meaning.

The string below a setting is its documentation: `docs/reference/configuration.md` is made from it.
"""
