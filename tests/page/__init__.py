"""Tests of the verifier page, in a real browser."""
