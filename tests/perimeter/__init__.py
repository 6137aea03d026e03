"""Tests of the perimeter as a whole: who is let in over TLS, and what hostile callers achieve."""
