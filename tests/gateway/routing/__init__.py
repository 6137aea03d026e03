"""Tests of routes: real sinks over TLS, a real log, a real broker."""
