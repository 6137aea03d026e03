"""Scripts of the project; each runs as ``python -m tools.NAME`` from the root."""
