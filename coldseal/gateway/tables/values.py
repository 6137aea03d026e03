"""Values that several tables have."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Urgent = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Origin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$", max_length=200)]
