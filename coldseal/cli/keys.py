"""``coldseal identity roll-over`` and ``revoke-key``: a log's signing keys, with its gateway running or not.

A running gateway is asked over its control channel; where none runs, the command does it under the writer's
lock as a run of its own. Certificates are another matter: see ``identity renew``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldseal.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.gateway.config import GatewayConfig


def roll_over(
    config: Path, use: str = "record", /, *, reason: str = "scheduled", as_json: bool = False
) -> int:
    """Change a log's signing key for a new one; the log itself says so, signed by the old key.

    The old private key is deleted once the change is on disk. Readings wait no longer than for one commit.

    Args:
        config: gateway.toml.
        use: record (signs entries) or checkpoint (both keys that sign checkpoints).
        reason: why, in words; it stands in the log.
        as_json: answer with one JSON object.
    """
    found = _ask(config, {"do": "roll-over", "use": use, "reason": reason})
    _show(found, ("seq", "use", "old", "new"), as_json=as_json)
    return 0


def revoke_key(config: Path, use: str, key: str, /, *, since: str, reason: str, as_json: bool = False) -> int:
    """Put on record that a retired key was in wrong hands.

    What it signed stays good below the last cosigned checkpoint before that time; the rest is to be reviewed,
    and the verifier says so. A key that is still in use is changed first, by roll-over.

    Args:
        config: gateway.toml.
        use: record or checkpoint.
        key: the key's id, as roll-over showed it.
        since: from when on, such as 2026-01-31T06:30:00.000Z.
        reason: why, in words; it stands in the log.
        as_json: answer with one JSON object.
    """
    request = {"do": "revoke", "use": use, "key": key, "since": since, "reason": reason}
    _show(_ask(config, request), ("seq",), as_json=as_json)
    return 0


def _show(found: Mapping[str, Any], names: tuple[str, ...], *, as_json: bool) -> None:
    """Print what was done."""
    facts = {name: found[name] for name in names}
    if as_json:
        print_json(facts)
    else:
        print_facts({name: str(value) for name, value in facts.items()})


def _ask(path: Path, request: Mapping[str, str]) -> Mapping[str, Any]:
    """Have it done by the gateway that runs, or here."""
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    config = load_gateway(path)
    answer = ask(place_of_control(config), request)
    return asyncio.run(_do_alone(config, request)) if answer is None else answer


async def _do_alone(config: GatewayConfig, request: Mapping[str, str]) -> Mapping[str, Any]:
    """Open the log as a gateway does, and close it in order."""
    from coldseal.core.access import Action
    from coldseal.gateway.custody import stand_ins
    from coldseal.gateway.persons import Asked
    from coldseal.gateway.rollover import RollOver
    from coldseal.gateway.writer import Run
    from coldseal.observe.logs import configure

    configure(level="error")  # the answer says what was done
    action = Action.REVOKE if request["do"] == "revoke" else Action.ROLL_OVER
    async with Run.open(config, Asked(action, request["reason"], request)) as run:
        change = RollOver(
            config.keys,
            Path(),
            keys=run.keys,
            log=run.log,
            journal=run.journal,
            clock=run.clock,
            alone=lambda step: step(run.known.snapshot),
            stand_ins=stand_ins(config),
        )
        if request["do"] == "revoke":
            fields = (request[name] for name in ("use", "key", "since", "reason"))
            return {"seq": await change.revoke(*fields)}
        changed = await change.change(request["use"], request["reason"])
        return {name: getattr(changed, name) for name in changed.__struct_fields__}
