"""Tests of the demo: its verdict, its line, its board, and one short run of the real thing."""
