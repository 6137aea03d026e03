"""The drill in which every certificate of a running gateway changes while readings flow.

Promise: with an enrolment server all are renewed there, as in every week; without one the files are written
again as they are, so that everything reads them anew. No connection may be cut by it, nothing be lost.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from coldseal.drill.course import Check, Stage
from coldseal.drill.faults import LOOKED_AT, first_fault, is_fed, seconds_of, within_of
from coldseal.gateway.administration import place_of_control
from coldseal.gateway.control import ask
from coldseal.gateway.records import open_reader
from coldseal.gateway.uplink.enrolment import pairs_of
from coldseal.identity.files import replace_alike

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig
    from coldseal.settings import Address

SETTLED_S: Final = 3.0
"""For so long is looked on after the last change: the gateway looks at its files each second."""

_HANDSHAKE_S: Final = 10.0


def rotation(stage: Stage) -> list[Check]:
    """Have every certificate renewed, or read anew, and see what readings and connections notice of it."""
    config = stage.config
    before = stage.status()
    was_fed = is_fed(stage)
    begin = dict(stage.status())
    if config.enrolment.url:
        stage.say(f"renewing {len(pairs_of(config))} certificates at {config.enrolment.url}")
        ask(place_of_control(config), {"do": "renew", "why": "the drill rotation"})
        took = stage.until(lambda: _are_renewed(before, stage.status()), stage.within_s)
    else:
        stage.say("writing the files of all certificates again")
        took = _write_again(config)
    checks = [_renewal(name, before, row) for name, row in stage.status()["certificates"].items()]
    checks.append(Check("seconds for that", seconds_of(took), within_of(stage), took is not None))
    if config.mqtt.listen is not None and config.mqtt.certificate is not None:
        checks.append(_listener(stage, config.mqtt.listen, config.mqtt.certificate))
    stage.wait(SETTLED_S)
    mark = stage.status()
    delivered = stage.until(lambda: stage.status()["published"] >= mark["size"], stage.within_s)
    after = stage.status()
    # an entry is on disk before its reading counts as accepted: entries are counted from the look before
    begin["size"] = before["size"]
    return [*checks, *_traffic(stage, begin, after, was_fed=was_fed), *_delivery(stage, after, delivered)]


def _are_renewed(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether each certificate that is renewed here has come since."""
    rows = {name: row for name, row in now["certificates"].items() if "renewals" in row}
    known = before["certificates"]
    return bool(rows) and all(
        row["renewals"] > known.get(name, {}).get("renewals", 0) for name, row in rows.items()
    )


def _write_again(config: GatewayConfig) -> float:
    """Write each pair of files again with the content that it has."""
    for pair in pairs_of(config).values():
        for path in (pair.key, pair.certificate):
            replace_alike(path, path.read_bytes())
    return 0.0


def _renewal(name: str, before: Mapping[str, Any], row: Mapping[str, Any]) -> Check:
    """Say what became of one certificate."""
    if "renewals" not in row:
        return Check(
            f"certificate of {name}", f"{row['days']} days left", "any", ok=row["alarm"] != "expired"
        )
    known = before["certificates"].get(name, {}).get("renewals", 0)
    is_new = row["renewals"] > known
    found = f"renewed, {row['days']} days left" if is_new else row["fault"] or row["phase"]
    return Check(f"certificate of {name}", found, "renewed", is_new)


def _listener(stage: Stage, address: Address, certificate: Path) -> Check:
    """See whether the listener shows what stands in its file now."""
    took = stage.until(lambda: _shown(address) == _first(certificate), stage.within_s)
    is_shown = took is not None
    return Check("the listener shows it", "yes" if is_shown else "no", "yes", is_shown)


def _shown(address: Address) -> str:
    """Look what certificate a listener shows; nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is compared with the file
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 -- to reach it
    with (
        suppress(OSError),
        socket.create_connection((host, address.port), _HANDSHAKE_S) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")
    return ""


def _first(certificate: Path) -> str:
    """Read the first certificate of a file, in the same form."""
    pem, end, _ = certificate.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert((pem + end).lstrip()))


def _traffic(
    stage: Stage, begin: Mapping[str, Any], after: Mapping[str, Any], *, was_fed: bool
) -> list[Check]:
    """Say what readings and connections noticed."""
    grown, sealed = after["accepted"] - begin["accepted"], after["size"] - begin["size"]
    ended = after["connections_ended"] - begin["connections_ended"]
    with closing(open_reader(stage.config)) as reader:
        fault = first_fault(stage, reader, max(0, begin["size"] - LOOKED_AT))
    return [
        Check(
            "readings acknowledged meanwhile",
            str(grown),
            "> 0" if was_fed else "any",
            grown > 0 or not was_fed,
        ),
        Check("entries sealed meanwhile", str(sealed), f"≥ {grown}", sealed >= grown),
        Check("connections of devices that ended", str(ended), "0", ended == 0),
        Check("first fault in chain and signatures", fault or "none", "none", not fault),
    ]


def _delivery(stage: Stage, after: Mapping[str, Any], took: float | None) -> list[Check]:
    """Say whether the uplink goes on."""
    if not stage.config.uplink.url:
        return []
    phase = after["uplink"]
    return [
        Check("seconds until all had a receipt", seconds_of(took), within_of(stage), took is not None),
        Check("the uplink afterwards", phase, "idle or sending", phase.startswith(("idle", "sending"))),
    ]
