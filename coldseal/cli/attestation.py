"""`coldseal service attestation` and `coldseal gateway attest`: how machines stand, what they should be.

Reference values come from a quote that the service has verified, never from typing. Decisions name who and
why.
"""

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_facts, print_json, print_lines, render_span
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.service.attestation.references import References
    from coldseal.service.attestation.states import Booted, Found

REFERENCE_ACTIONS: Final = ("add", "list", "remove")
POLICY_ACTIONS: Final = ("accept", "flag", "hold", "forget", "default")


def list_(config: Path, /, *, as_json: bool = False) -> int:
    """Say how the gateways' machines stand; the exit code is 1 when one of them has changed.

    Args:
        config: service.toml; the service may be running.
        as_json: answer with one JSON object.
    """
    from coldseal.service.attestation.states import States
    from coldseal.service.config import load_service

    states = States(load_service(config).service.data)
    found, decisions = states.all(), states.decisions()
    if as_json:
        rows = [_facts(each) for _, each in sorted(found.items())]
        print_json({"gateways": rows})
    for name, each in sorted(found.items()) if not as_json else ():
        age = f"{render_span(_now() - each.attested)} ago" if each.attested else "never"
        decided = f"  decided: {decisions[name].action}" if name in decisions else ""
        print_lines(f"{name}  {each.verdict}  attested {age}{decided}", f"  {each.reason}")
        print_lines(*(f"  {change}" for change in each.changes))
    return 1 if any(each.verdict == "changed" for each in found.values()) else 0


def _facts(found: "Found") -> dict[str, Any]:
    """Give one gateway for scripts."""
    return {
        "gateway": found.gateway,
        "verdict": found.verdict,
        "reason": found.reason,
        "reference": found.reference,
        "changes": list(found.changes),
        "attested": found.attested,
        "since": found.since,
        "chip": found.bound.chip if found.bound else "",
        "model": found.bound.model if found.bound else "",
        "pcrs": {} if found.booted is None else {str(pcr): v for pcr, v in found.booted.values.items()},
        "flagged": [
            {"origin": each.origin, "first": each.first, "end": each.end, "verdict": each.verdict}
            for each in found.flagged
        ],
        "history": [{"t": each.t, "verdict": each.verdict, "reason": each.reason} for each in found.history],
    }


def reference(
    config: Path,
    action: str,
    name: str = "",
    /,
    *,
    gateway: str = "",
    applies_to: list[str] | None = None,
    pcrs: str = "",
    who: str = "",
    why: str = "",
    as_json: bool = False,
) -> int:
    """Look after reference values: what a release boots to on one kind of machine.

    Actions: add takes them from the last quote of a gateway that the service has verified; list shows which
    are in force; remove takes one out of force. A running service notices it by itself.

    Args:
        config: service.toml; the service may be running.
        action: add, list or remove.
        name: of the reference, such as debian12-model7-1.4.
        gateway: whose last quote is taken.
        applies_to: pattern of gateways' names that it counts for, such as truck-*; may be given several
            times; by default that gateway alone.
        pcrs: those that count, separated by commas; by default all that were quoted.
        who: who decides; by default the user of this machine.
        why: why.
        as_json: answer with one JSON object.
    """
    from coldseal.service.attestation.references import ReferenceFile, References
    from coldseal.service.config import load_service

    data = load_service(config).service.data
    references = References(data)
    if action == "list":
        return _list_references(references, as_json=as_json)
    if action not in REFERENCE_ACTIONS:
        raise OperatorError(f"reference cannot {action!r}", f"It can: {', '.join(REFERENCE_ACTIONS)}")
    if not name:
        raise OperatorError("the reference has no name", f"Write: reference CONFIG {action} NAME")
    if action == "remove":
        references.remove(name)
        done = {"removed": name}
    else:
        if not why:
            raise OperatorError("it is not said why", "Add --why, such as --why 'release 1.4, ticket 17'")
        booted = _taken(data, gateway, pcrs)
        patterns, user = tuple(applies_to or (gateway,)), who or getpass.getuser()
        file = ReferenceFile(
            name=name, gateways=patterns, booted=booted, source=gateway, who=user, why=why, t=_now()
        )
        done = {"added": str(references.add(file))}
    if as_json:
        print_json(done)
    else:
        print_lines(*(f"{verb} {what}" for verb, what in done.items()))
    return 0


def _taken(data: Path, gateway: str, pcrs: str) -> "Booted":
    """Give what a gateway's last quote says of those PCRs."""
    from coldseal.service.attestation.states import Booted, States

    found = States(data).all().get(gateway)
    if found is None or found.booted is None:
        raise OperatorError(
            f"{gateway!r} has sent no quote that held", "Name a gateway of `attestation list`"
        )
    booted = found.booted
    wanted = _pcrs(pcrs) or set(booted.values)
    if missing := sorted(wanted - set(booted.values)):
        raise OperatorError(
            f"{gateway} did not quote PCRs {missing}", "See attestation.pcrs in its gateway.toml"
        )
    return Booted(
        values={pcr: value for pcr, value in booted.values.items() if pcr in wanted},
        events=tuple(each for each in booted.events if each[0] in wanted),
    )


def _pcrs(text: str) -> set[int]:
    """Read numbers separated by commas."""
    try:
        return {int(each) for each in text.split(",") if each}
    except ValueError as error:
        raise OperatorError(f"--pcrs is {text!r}", "Write numbers, such as 0,2,4,7") from error


def _list_references(references: "References", *, as_json: bool) -> int:
    """Show which reference values are in force."""
    files = references.files
    if as_json:
        rows = [
            {
                "name": each.name,
                "gateways": list(each.gateways),
                "pcrs": {str(pcr): value for pcr, value in each.booted.values.items()},
                "source": each.source,
                "who": each.who,
                "why": each.why,
                "t": each.t,
            }
            for each in files
        ]
        print_json({"references": rows})
        return 0
    for each in files:
        pcrs = ",".join(str(pcr) for pcr in sorted(each.booted.values))
        print_lines(f"{each.name}  for {', '.join(each.gateways)}  PCRs {pcrs}")
        print_lines(f"  of {each.source}, by {each.who}: {each.why}")
    return 0


def policy(
    config: Path, gateway: str, action: str, /, *, why: str, who: str = "", as_json: bool = False
) -> int:
    """Decide what becomes of one gateway's batches, whatever its machine is; a running service notices it.

    Actions: accept, flag or hold its batches; default goes back to what service.toml says; forget lets
    another chip be bound to it.

    Args:
        config: service.toml; the service may be running.
        gateway: name of the gateway.
        action: accept, flag, hold, forget or default.
        why: why.
        who: who decides; by default the user of this machine.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.peer import require_name
    from coldseal.service.attestation.states import Decision, States
    from coldseal.service.config import load_service

    if action not in POLICY_ACTIONS:
        raise OperatorError(f"policy cannot {action!r}", f"It can: {', '.join(POLICY_ACTIONS)}")
    require_name("gateway", gateway)
    states = States(load_service(config).service.data)
    chosen: Any = action  # one of the literals, as was just looked at
    decision = Decision(gateway=gateway, action=chosen, who=who or getpass.getuser(), why=why, t=_now())
    states.decide(decision)
    if as_json:
        print_json({"gateway": gateway, "action": action})
    else:
        print_lines(f"{gateway}: {action}")
    return 0


def attest(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Attest this gateway to its service now; its chip is bound before, if the service does not know it.

    The exit code is 1 when the service finds the machine changed, or refuses what it says.

    Args:
        config: gateway.toml; the gateway may be running.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    import asyncio

    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.uplink.attestation import attest_once
    from coldseal.gateway.uplink.names import guard_of
    from coldseal.identity.contexts import client_context

    settings = load_gateway(config, set_ or ())
    uplink = settings.uplink
    hint = "Set attestation.key, such as tpm:0x81010a01, and the uplink"
    if uplink.certificate is None or uplink.key is None or uplink.ca is None:
        raise OperatorError(f"{config}: this gateway has no uplink", hint)
    context = client_context(uplink.certificate, uplink.transport, uplink.ca)
    told = asyncio.run(
        attest_once(
            settings, lambda: context, now_ms=lambda: time.time_ns() // 10**6, guard=guard_of(settings)
        )
    )
    if told is None:
        raise OperatorError(f"{config}: this gateway does not attest", hint)
    facts = {"verdict": told.verdict, "reference": told.reference, "changes": list(told.changes)}
    if as_json:
        print_json(facts)
    else:
        print_facts({"verdict": told.verdict, "reference": told.reference or "none applies"})
        print_lines(*told.changes)
    return 1 if told.verdict == "changed" else 0


def _now() -> int:
    """Give wall time, Unix seconds."""
    return time.time_ns() // 10**9


SERVICE_COMMANDS = (list_, reference, policy)
