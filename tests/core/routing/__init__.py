"""Tests of routes' rules and forms."""
