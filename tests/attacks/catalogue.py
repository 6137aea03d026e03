"""The whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.attacks import bundles, services, stores, uplinks

if TYPE_CHECKING:
    from tests.attacks.attack import Attack

ATTACKS: dict[str, Attack] = {**bundles.ATTACKS, **stores.ATTACKS, **services.ATTACKS, **uplinks.ATTACKS}
