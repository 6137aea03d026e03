"""Tests of the command line, most of them through the real command."""
