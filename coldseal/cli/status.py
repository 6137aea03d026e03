"""Asks a running program on loopback how it is, and says it in words.

A value that this page does not know is shown under its own name. Nothing is asked of any other machine.
"""

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from coldseal.cli.output import print_facts, print_json, print_lines, render_bytes, render_span
from coldseal.errors import OperatorError, UnavailableError
from coldseal.settings import Address

TIMEOUT_S: Final = 5.0
READY: Final = "/readyz"


def show_status(program: str, listen: Address | None, *, as_json: bool) -> int:
    """Ask ``/readyz`` and ``/status``, print the answer, and give 0 when the program is well, else 1.

    Args:
        program: ``gateway`` or ``service``, for messages.
        listen: its ``http.listen``.
        as_json: print one JSON object.

    Raises:
        OperatorError: the program's configuration switches the page off.
        UnavailableError: nobody answers, or something else does.
    """
    if listen is None:
        raise OperatorError(f"the {program} shows no status: http.listen is empty", "Set http.listen")
    ready = _ask(program, listen, READY)
    found = _ask(program, listen, "/status")
    if as_json:
        print_json({"ok": ready["ok"], "reasons": ready["reasons"], **_notes(ready), **found})
    else:
        print_facts(dict(_render(key, value) for key, value in found.items()))
        verdict = "well" if ready["ok"] else "NOT WELL"
        why = [*ready["reasons"], *ready.get("notes", ())]
        print_lines("", f"The {program} is {verdict}.", *(f"  {each}" for each in why))
    return 0 if ready["ok"] else 1


def _notes(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Give the notes, where there are any."""
    return {"notes": ready["notes"]} if "notes" in ready else {}


def _ask(program: str, listen: Address, path: str) -> dict[str, Any]:
    """Fetch one JSON page; no proxy is looked for."""
    connection = http.client.HTTPConnection(listen.host, listen.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except OSError as error:
        raise UnavailableError(f"the {program} at {listen}", error.strerror or str(error)) from error
    except http.client.HTTPException as error:
        raise UnavailableError(f"the {program} at {listen}", "something else answers there") from error
    except ValueError as error:
        raise UnavailableError(f"the {program} at {listen}", "something else answers there") from error
    finally:
        connection.close()
    if not isinstance(answer, dict) or (path == READY and "ok" not in answer):
        raise UnavailableError(f"the {program} at {listen}", "something else answers there")
    return answer


Render = Callable[[Any], str]


def _age(seconds: float | None) -> str:
    """Say how long ago something was."""
    return "never" if seconds is None else f"{render_span(seconds)} ago"


def _silent(silent: Mapping[str, float]) -> str:
    """Name the silent sensors and since when they are."""
    return ", ".join(f"{name} ({render_span(span)})" for name, span in silent.items()) or "none"


def _witnesses(witnesses: Mapping[str, str]) -> str:
    """Name the further witnesses and how far each is."""
    return ", ".join(f"{name}: {state}" for name, state in witnesses.items()) or "none"


def _continued(logs: Mapping[str, str]) -> str:
    """Name the logs that go on under another origin."""
    return ", ".join(f"{before} as {after}" for before, after in logs.items()) or "none"


def _refused(ways: Mapping[str, str]) -> str:
    """Name the endpoints that are refused now, and why."""
    return ", ".join(f"{endpoint} ({why})" for endpoint, why in ways.items()) or "none"


def _time(found: Mapping[str, Any]) -> str:
    """Say who keeps the time, how that one is authenticated, and what is wrong with it."""
    source = f"{found['service']}, which follows {found['source'] or 'nobody'}, by {found['authentication']}"
    flagged = "; readings are flagged" if found["flagged"] else ""
    return (source if found["service"] else found["reason"] or "the kernel") + flagged


def _broker(found: Mapping[str, Any]) -> str:
    """Say how the external broker stands, and what this mode does not promise."""
    state = "connected" if found["up"] else "NOT CONNECTED"
    lost = f", {found['dropped_by_it']} messages dropped by it" if found["dropped_by_it"] else ""
    return f"{found['address']} {state}{lost}; promise {found['promise']}"


def _certificates(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the certificates: the life left, and what is wrong with it or with its renewal."""
    said = []
    for name, row in rows.items():
        wrong = ", ".join(each for each in (row["alarm"], row.get("fault", "")) if each)
        said.append(f"{name} {row['days']} days" + (f" ({wrong})" if wrong else ""))
    return ", ".join(said) or "none"


def _due(days: Mapping[str, int]) -> str:
    """Name the calibrations that are due soon or overdue."""
    said = (f"{name} {f'in {left} days' if left >= 0 else 'OVERDUE'}" for name, left in days.items())
    return ", ".join(said) or "none"


_KNOWN: Final[dict[str, tuple[str, Render]]] = {
    "size": ("entries", "{:,}".format),
    "published": ("with receipt", "{:,}".format),
    "backlog": ("without receipt", "{:,}".format),
    "backlog_s": ("oldest without receipt", render_span),
    "receipt_age_s": ("last receipt", _age),
    "checkpoint_age_s": ("last checkpoint", _age),
    "unwitnessed": ("not witnessed by the quorum", "{:,}".format),
    "unwitnessed_s": ("oldest not witnessed", render_span),
    "witnesses": ("further witnesses", _witnesses),
    "store_bytes": ("store", render_bytes),
    "store_limit_bytes": ("store limit", render_bytes),
    "store_days_left": ("room for", "{} days at the recent rate".format),
    "memory_bytes": ("memory", render_bytes),
    "sensors": ("sensors heard", str),
    "silent": ("silent sensors", _silent),
    "certificate_days": ("certificate lives", "{} days".format),
    "uplink_certificate_days": ("uplink's certificate lives", "{} days".format),
    "broker": ("external broker", _broker),
    "certificates": ("certificates", _certificates),
    "connections_ended": ("connections of devices that ended", "{:,}".format),
    "egress_refused": ("ways out refused", _refused),
    "time": ("time comes from", _time),
    "calibrations_due_days": ("calibrations due", _due),
    "maintenance_s": ("sensors in maintenance", _silent),
    "uptime_s": ("running for", render_span),
    "logs": ("admitted logs", str),
    "witnessed_logs": ("logs only witnessed", str),
    "succeeded_logs": ("logs that go on under another origin", _continued),
    "verify_backlog": ("signatures to check", "{:,}".format),
    "refuted": ("wrong signatures", "{:,}".format),
}
"""What programs say about themselves: the words for it, and how its value is written."""


def _render(key: str, value: object) -> tuple[str, str]:
    """Write one value in words."""
    name, render = _KNOWN.get(key, (key.replace("_", " "), str))
    return name, "unknown" if value is None and render is not _age else render(value)
