"""The same surroundings as the tests of the sources."""

from __future__ import annotations

from tests.gateway.sources.conftest import pytest_asyncio_loop_factories, rig, site

__all__ = ["pytest_asyncio_loop_factories", "rig", "site"]
