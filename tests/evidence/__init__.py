"""Tests of evidence as a file."""
