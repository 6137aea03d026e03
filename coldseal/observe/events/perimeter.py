"""Events of the way out: refused endpoints, names and pins."""

from __future__ import annotations
