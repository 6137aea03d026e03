"""Tests of the arithmetic of the benchmarks: a harness that counts wrongly proves nothing."""
