"""Programs that run in the environment of a stranger, with its packages and the standard library alone."""
