"""Tests of events, logs, metrics and health."""
