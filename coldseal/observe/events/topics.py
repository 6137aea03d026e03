"""Events of topics, quotas and the external broker."""

from __future__ import annotations
