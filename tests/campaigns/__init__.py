"""Campaigns: many rounds of harm to the real programs; short in the suite, long in `make soak`."""
