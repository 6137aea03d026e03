"""Which reason codes each packet may carry (MQTT 5 table 2-6), and what the 3.1.1 codes mean.

Only tables: the decoder and the encoder hold packets to them.
"""

from __future__ import annotations

from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.packets import ReasonCode

R = ReasonCode


def _listed(*codes: int) -> dict[int, ReasonCode]:
    return {code: ReasonCode(code) for code in codes}


_PUBLISH_ANSWER = _listed(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
_RELEASE = _listed(0x00, 0x92)

REASONS: dict[str, tuple[dict[int, ReasonCode], Rule]] = {
    "CONNACK": (
        _listed(0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, *range(0x9A, 0x9E), 0x9F),
        clauses.CONNACK_REASON,
    ),
    "PUBACK": (_PUBLISH_ANSWER, clauses.PUBACK_REASON),
    "PUBREC": (_PUBLISH_ANSWER, clauses.PUBREC_REASON),
    "PUBREL": (_RELEASE, clauses.PUBREL_REASON),
    "PUBCOMP": (_RELEASE, clauses.PUBCOMP_REASON),
    "SUBACK": (
        _listed(0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2),
        clauses.SUBACK_REASON,
    ),
    "UNSUBACK": (_listed(0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91), clauses.UNSUBACK_REASON),
    "DISCONNECT": (
        _listed(0x00, 0x04, *range(0x80, 0x84), 0x87, 0x89, 0x8B, *range(0x8D, 0x91), *range(0x93, 0xA3)),
        clauses.DISCONNECT_REASON,
    ),
    "AUTH": (_listed(0x00, 0x18, 0x19), clauses.AUTH_REASON),
}

CONNACK_RETURN_CODES: dict[int, ReasonCode] = {
    0: R.SUCCESS,
    1: R.UNSUPPORTED_PROTOCOL_VERSION,
    2: R.CLIENT_IDENTIFIER_NOT_VALID,
    3: R.SERVER_UNAVAILABLE,
    4: R.BAD_USER_NAME_OR_PASSWORD,
    5: R.NOT_AUTHORIZED,
}
"""3.1.1 table 3.1: the return codes of CONNACK by their MQTT 5 meaning."""

SUBACK_RETURN_CODES = frozenset((0x00, 0x01, 0x02, 0x80))
"""3.1.1 section 3.9.3."""
