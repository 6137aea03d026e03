"""Events of who administered what, and who was refused."""

from __future__ import annotations
