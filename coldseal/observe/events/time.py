"""Events of time: sources, offsets, steps."""

from __future__ import annotations
