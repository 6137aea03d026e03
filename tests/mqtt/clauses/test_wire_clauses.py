"""Every normative statement about the wire format, on bytes: cases_311.toml and cases_50.toml.

The name of a test is its clause. A last test holds the cases against the list of all statements.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import Connect, ProtocolError, ReasonCode, Version
from coldseal.mqtt.wire import encode_varint
from tests.mqtt import test_client, test_client_flows
from tests.mqtt.clauses import KEPT

HERE = Path(__file__).parent
FILES = {Version.V311: "cases_311.toml", Version.V5: "cases_50.toml"}


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a case file; see the head of the files."""

    clause: str
    claim: str
    first: int = 0
    body: str = ""
    raw: str = ""
    fresh: bool = False
    again: bool = False
    packet: str = ""
    written: str = ""
    error: int = 0
    at: str = ""
    version: Version = Version.V5

    @property
    def name(self) -> str:
        """Name the text, the clause and the claim."""
        return f"{self.version.name} {self.clause.split()[-1]} {self.claim}"

    def bytes(self) -> bytes:
        """Return what stands on the wire."""
        if self.raw:
            return _bytes(self.raw)
        body = _bytes(self.body)
        return bytes((self.first,)) + encode_varint(len(body)) + body


class CaseFile(msgspec.Struct, forbid_unknown_fields=True):
    """A case file."""

    case: list[Case]


class Statements(msgspec.Struct, forbid_unknown_fields=True):
    """The statements of one text by who keeps them."""

    wire: set[str]
    client: set[str]
    server: set[str]
    owner: set[str]


def _bytes(text: str) -> bytes:
    """Read hexadecimal digits, "strings with a length" and 'bare strings'."""
    out = b""
    for quoted, bare, digits in re.findall(r"\"([^\"]*)\"|'([^']*)'|([0-9A-Fa-f]+)", text):
        out += bytes.fromhex(digits) + bare.encode()
        if not digits and not bare:
            out += len(quoted).to_bytes(2, "big") + quoted.encode()
    return out


def _load() -> list[Case]:
    cases: list[Case] = []
    for version, name in FILES.items():
        for case in msgspec.toml.decode((HERE / name).read_bytes(), type=CaseFile).case:
            case.version = version
            cases.append(case)
    return cases


CASES = _load()


def _decoder(case: Case) -> Decoder:
    decoder = Decoder()
    if not case.fresh:
        decoder.feed(encode(Connect("c", case.version), case.version))
    return decoder


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_statement_is_kept(case: Case) -> None:
    """The bytes give the packet, or the error with its reason code and clause."""
    decoder = _decoder(case)
    if case.packet:
        (packet,) = decoder.feed(case.bytes())
        assert repr(packet) == case.packet
        assert encode(packet, case.version) == (_bytes(case.written) or case.bytes())
        return
    with pytest.raises(ProtocolError) as caught:
        decoder.feed(case.bytes())
    assert caught.value.reason is ReasonCode(case.error)
    if case.again:
        with pytest.raises(ProtocolError) as caught:
            decoder.feed(encode(Connect("c", case.version), case.version))
    assert caught.value.clause == (case.at or case.clause)
    assert caught.value.expected
    assert decoder.buffered == 0


@pytest.mark.parametrize("version", Version)
def test_every_statement_of_wire_and_client_has_its_test(version: Version) -> None:
    """No numbered statement is without an owner, and none of ours without a test."""
    every = msgspec.toml.decode((HERE / "statements.toml").read_bytes(), type=dict[str, Statements])
    ours = every[{Version.V311: "v311", Version.V5: "v5"}[version]]
    assert not ours.wire - {case.clause for case in CASES if case.version is version}
    assert ours.client == KEPT[version].keys()


def test_the_clause_tests_of_the_machine_are_real() -> None:
    """The marks stand on tests that pytest collects."""
    names = {*vars(test_client), *vars(test_client_flows)}
    assert {name for kept in KEPT.values() for name in kept.values()} <= names
