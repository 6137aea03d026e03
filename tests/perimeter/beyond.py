"""What a hostile caller does with records, and behind the handshake, as data.

In the form of `behind`: records that are none, keys that change again and again, ends of all kinds.
"""

from __future__ import annotations

from coldseal.identity.handshakes import Reason
from tests.perimeter.behind import (
    Case,
    End,
    Play,
    cut,
    plain,
    puts,
    sends,
    steps,
    turned,
)
from tests.perimeter.conversation import FINISHED, KEY_UPDATE, MAX_PLAIN, Alert, Caller, message
from tests.perimeter.hostile import (
    ALERT,
    CHANGE,
    DATA,
    EARLY,
    HANDSHAKE,
    MODES,
    PSK,
    Extensions,
    hello,
    record,
    vector,
    words,
)

_ONE = record(b"\x01", CHANGE, 0x0303)
TICKET = vector(vector(b"ticket" * 8, 2) + bytes(4), 2) + vector(vector(bytes(32), 1), 2)
MANY = 1_000


def then(*done: Play) -> Play:
    """Shake hands as one should, and go on."""

    def play(caller: Caller) -> None:
        caller.shake()
        for each in done:
            each(caller)

    return play


def greets(changes: Extensions | None = None, *done: Play) -> Play:
    """Greet with other extensions, do something, and answer as one should."""

    def play(caller: Caller) -> None:
        caller.greet(changes)
        for each in done:
            each(caller)
        caller.answer()

    return play


def sealed(inner: bytes, *, kind: int = DATA, version: int = 0x0303) -> Play:
    """Send a record with whatever is inside it."""
    return lambda caller: caller.put(caller.keys.seal(inner, kind=kind, version=version))


def altered_at(at: int) -> Play:
    """Send a record with one bit turned on its way."""
    return lambda caller: caller.put(turned(at)(caller.keys.seal(b"x" * 40 + bytes((DATA,)))))


def _replayed(caller: Caller) -> None:
    """Send one record twice."""
    data = caller.keys.seal(b"" + bytes((DATA,)))
    caller.put(data + data)


def _swapped(caller: Caller) -> None:
    """Send two records, the second before the first."""
    first, second = caller.keys.seal(b"\x17"), caller.keys.seal(b"\x17")
    caller.put(second + first)


def _skipped(caller: Caller) -> None:
    """Leave a number out."""
    caller.keys.number += 1
    caller.send(b"")


def _reflected(caller: Caller) -> None:
    """Send what only the server should be able to seal."""
    caller.keys = caller.server_keys()
    caller.send(b"")


def _under_old_keys(caller: Caller) -> None:
    """Go on with the keys of the handshake."""
    caller.greet()
    old = caller.keys
    caller.answer()
    caller.keys = old


def _updates_and_keeps(caller: Caller) -> None:
    """Say KeyUpdate, and go on with the old keys."""
    caller.send(message(KEY_UPDATE, b"\0"), HANDSHAKE)
    caller.send(b"")


def _updates(count: int, asks: int) -> Play:
    """Say KeyUpdate many times."""
    return lambda caller: caller.update(count, asks=asks)


def _updates_in_pieces(caller: Caller) -> None:
    """Say KeyUpdate in two records."""
    said = message(KEY_UPDATE, b"\0")
    caller.send(said[:2], HANDSHAKE)
    caller.send(said[2:], HANDSHAKE)
    caller.keys = caller.keys.next()


def _many(count: int, *each: Play) -> Play:
    """Do something many times."""

    def play(caller: Caller) -> None:
        for _ in range(count):
            for one in each:
                one(caller)

    return play


def _middle_of(caller: Caller) -> None:
    """Send a part of a record, and end."""
    caller.put(caller.keys.seal(b"x" * 100)[:50])
    caller.end()


def broken(
    name: str,
    script: str,
    play: Play,
    reason: Reason = Reason.MALFORMED,
    alert: Alert | None = Alert.UNEXPECTED_MESSAGE,
) -> Case:
    """Make a case that is cut off behind the handshake."""
    return Case(name, script, play, End.BROKEN, reason, alert)


def altered(name: str, script: str, play: Play) -> Case:
    """Make a case whose record does not open."""
    return broken(name, script, play, Reason.ALTERED, Alert.BAD_RECORD_MAC)


def ended(name: str, script: str, play: Play) -> Case:
    """Make a case that ends by itself before the handshake does."""
    return Case(name, script, play, reason=Reason.CLOSED, alert=None)


def _changes() -> list[Case]:
    """ChangeCipherSpec: one behind the hello may come and means nothing; all else is wrong."""
    return [
        Case("ChangeCipherSpec", "ccs", greets(None, puts(_ONE)), End.SERVED),
        *(
            Case(
                f"ChangeCipherSpec {name}",
                script,
                greets(None, puts(record(content, CHANGE, 0x0303))),
                alert=Alert.ILLEGAL_PARAMETER,  # OpenSSL's; RFC 8446 5 says unexpected_message
            )
            for name, script, content in (
                ("of another value", "ccs", b"\x02"),
                ("of no bytes", "ccs", b""),
                ("of two bytes", "ccs", b"\x01\x00"),
                ("twice in a record", "multiple-ccs-messages", b"\x01\x01"),
            )
        ),
        Case("ChangeCipherSpec that is sealed", "ccs", greets(None, sends(b"\x01", CHANGE))),
        Case("ChangeCipherSpec 40 times", "multiple-ccs-messages", greets(None, puts(_ONE * 40))),
        broken("ChangeCipherSpec behind Finished", "ccs", then(puts(_ONE))),
        broken("ChangeCipherSpec behind Finished, sealed", "ccs", then(sends(b"\x01", CHANGE))),
    ]


def _records() -> list[Case]:
    """Records with nothing in them, or something of no kind."""
    zeros = {"no": 0, "one": 1, "many": 5_000, "as many as go": MAX_PLAIN - 1}
    return [
        *(
            Case(f"data with {name} zeros behind it", "record-padding", then(_padded(count)), End.SERVED)
            for name, count in zeros.items()
        ),
        Case("the handshake with zeros behind it", "record-padding", _shakes_padded, End.SERVED),
        Case("data of no bytes", "zero-length-data", then(sends(b"", DATA)), End.SERVED),
        Case("data of no bytes, 31 times", "zero-length-data", then(_many(31, sends(b"", DATA))), End.SERVED),
        broken(f"data of no bytes, {MANY} times", "zero-length-data", then(_many(MANY, sends(b"", DATA)))),
        altered("a record of no bytes", "lengths", then(puts(record(b"", DATA, 0x0303)))),
        altered("a record shorter than its tag", "lengths", then(puts(record(bytes(15), DATA, 0x0303)))),
        altered("a record of nothing but its tag", "zero-content-type", then(sealed(b""))),
        broken("a record of zeros alone", "zero-content-type", then(sealed(bytes(16)))),
        Case("a record of zeros alone before Finished", "zero-content-type", greets(None, sealed(bytes(16)))),
        broken("a handshake record of no bytes", "zero-content-type", then(sends(b"", HANDSHAKE))),
        Case(
            "a handshake record of no bytes before Finished",
            "zero-content-type",
            greets(None, sends(b"", HANDSHAKE)),
        ),
        broken("content of an unknown kind", "zero-content-type", then(sends(b"x", 99))),
        broken("content of a heartbeat", "zero-content-type", then(sends(b"\1\x40\0", 24))),
        broken(
            "a record of another version",
            "legacy-version",
            then(sealed(b"\x17", version=0x0304)),
            Reason.NOT_TLS,
            Alert.DECODE_ERROR,
        ),
    ]


def _limits() -> list[Case]:
    """Records beyond the limits, altered, repeated, in another order, or under other keys."""
    return [
        broken(
            "data of one byte too many",
            "record-layer-limits",
            then(sends(bytes(MAX_PLAIN + 1), DATA)),
            alert=Alert.RECORD_OVERFLOW,
        ),
        # RFC 8446 5.4 forbids it; OpenSSL limits content and sealed record, which bounds the zeros too
        Case("zeros of one byte too many", "record-layer-limits", then(_padded(MAX_PLAIN + 1)), End.SERVED),
        broken(
            "zeros of 256 bytes too many",
            "record-layer-limits",
            then(_padded(MAX_PLAIN + 256)),
            alert=Alert.RECORD_OVERFLOW,
        ),
        Case(
            "a record of 16,641 bytes announced",
            "record-layer-limits",
            then(puts(bytes((DATA,)) + words(0x0303, MAX_PLAIN + 257) + bytes(MAX_PLAIN + 257))),
            End.BROKEN,
            alert=Alert.RECORD_OVERFLOW,
        ),
        Case(
            "a record of 65,535 bytes announced",
            "record-layer-limits",
            then(puts(bytes((DATA,)) + words(0x0303, 65_535) + bytes(2_000))),
            End.BROKEN,
            alert=Alert.RECORD_OVERFLOW,
        ),
        broken(
            "a record that says handshake outside",
            "record-layer-limits",
            then(sealed(b"\x17", kind=HANDSHAKE)),
        ),
        *(
            Case(
                f"a record, {suite}: bit {bit} turned",
                "symetric-ciphers",
                then(altered_at(bit)),
                suite=suite,
                is_long=bit % 150 != 0,
                end=End.BROKEN,
                reason=Reason.ALTERED,
                alert=Alert.BAD_RECORD_MAC,
            )
            for suite in ("AES-128", "AES-256", "ChaCha20")
            for bit in range(40, 62 * 8)
        ),
        altered("a record twice", "conversation", then(_replayed)),
        altered("records in another order", "conversation", then(_swapped)),
        altered("a record left out", "conversation", then(_skipped)),
        altered("a record of the server's", "conversation", then(_reflected)),
        altered("a record under the keys of the handshake", "conversation", _under_old_keys),
        altered("a record in the clear", "finished-plaintext", then(puts(record(b"x" * 40, DATA, 0x0303)))),
    ]


def _padded(count: int) -> Play:
    """Send data of no bytes with zeros behind it."""
    return lambda caller: caller.send(b"", zeros=count)


def _shakes_padded(caller: Caller) -> None:
    """Answer with zeros behind each message."""
    caller.greet()
    for make in (caller.certificate, caller.proof, caller.finished):
        said = make()
        caller.hear(said)
        caller.send(said, HANDSHAKE, zeros=300)
    caller.switch()


def _updating() -> list[Case]:
    """KeyUpdate."""
    update = message(KEY_UPDATE, b"\0")
    return [
        Case("a KeyUpdate", "keyupdate", then(_updates(1, 0)), End.SERVED),
        Case("a KeyUpdate that asks for one", "keyupdate", then(_updates(1, 1)), End.SERVED),
        Case("a KeyUpdate in two records", "keyupdate", then(_updates_in_pieces), End.SERVED),
        Case(f"{MANY} KeyUpdates", "keyupdate", then(_updates(MANY, 0)), End.SERVED),
        Case(f"{MANY} KeyUpdates that ask for one", "keyupdate", then(_updates(MANY, 1)), End.SERVED),
        altered("a KeyUpdate, and the old keys", "keyupdate", then(_updates_and_keeps)),
        broken(
            "a KeyUpdate of no bytes",
            "keyupdate",
            then(sends(message(KEY_UPDATE, b""), HANDSHAKE)),
            alert=Alert.DECODE_ERROR,
        ),
        broken(
            "a KeyUpdate of two bytes",
            "keyupdate",
            then(sends(message(KEY_UPDATE, b"\0\0"), HANDSHAKE)),
            Reason.CHAIN_SIZE,
            Alert.ILLEGAL_PARAMETER,
        ),
        *(
            Case(
                f"a KeyUpdate that says {asks}",
                "keyupdate",
                then(sends(message(KEY_UPDATE, bytes((asks,))), HANDSHAKE)),
                End.BROKEN,
                alert=Alert.ILLEGAL_PARAMETER,
                is_long=asks not in {2, 255},
            )
            for asks in range(2, 256)
        ),
        broken("two KeyUpdates in a record", "keyupdate", then(sends(update + update, HANDSHAKE))),
        broken(
            "data within a KeyUpdate",
            "keyupdate",
            then(sends(update[:3], HANDSHAKE), sends(b"x", DATA), sends(update[3:], HANDSHAKE)),
        ),
        broken("a KeyUpdate in the clear", "keyupdate", then(plain(lambda _: update))),
    ]


def _afterwards() -> list[Case]:
    """Messages that nobody may say behind the handshake."""
    said = {
        "a hello (renegotiation)": hello(),
        "a request for a hello": message(0, b""),
        "a server's hello": message(2, bytes(40)),
        "a ticket": message(4, bytes(13)),
        "the end of early data": message(5, b""),
        "EncryptedExtensions": message(8, bytes(2)),
        "a certificate": message(11, bytes(4)),
        "a request for a certificate": message(13, bytes(3)),
        "a proof": message(15, words(0x0403, 0)),
        "Finished": message(FINISHED, bytes(32)),
        "a key exchange of TLS 1.2": message(16, bytes(32)),
        "a message of an unknown kind": message(0xFD, b""),
    }
    return [
        *(
            broken(f"behind the handshake: {name}", "post-handshake-auth", then(sends(one, HANDSHAKE)))
            for name, one in said.items()
        ),
        *(
            Case(
                f"behind the handshake: kind {kind}",
                "post-handshake-auth",
                then(sends(message(kind, bytes(8)), HANDSHAKE)),
                is_long=True,
                end=End.BROKEN,
            )
            for kind in range(256)
            if kind != KEY_UPDATE
        ),
        broken(
            "behind the handshake: a message of 16 MB announced",
            "post-handshake-auth",
            then(sends(b"\x0b\xff\xff\xff", HANDSHAKE)),
        ),
    ]


def _offers() -> list[Case]:
    """Extensions nobody knows, tickets that nobody gave, early data."""
    offer: Extensions = {EARLY: b"", MODES: vector(b"\x01", 1), PSK: TICKET}
    return [
        Case(
            "3,000 extensions that nobody knows",
            "large-number-of-extensions",
            greets(dict.fromkeys(range(0x1000, 0x1000 + 3_000), b"")),
            End.SERVED,
        ),
        Case(
            "a ticket that nobody gave",
            "session-resumption",
            greets({MODES: vector(b"\x01", 1), PSK: TICKET}),
            End.SERVED,
        ),
        Case(
            "a ticket without a key exchange",
            "psk_ke",
            greets({MODES: vector(b"\x00", 1), PSK: TICKET}),
            End.SERVED,
        ),
        Case(
            "early data, not taken",
            "0rtt-garbage",
            greets(offer, puts(record(bytes(64), DATA, 0x0303))),
            End.SERVED,
        ),
        Case(
            "too much early data",
            "0rtt-garbage",
            greets(offer, puts(record(bytes(MAX_PLAIN + 200), DATA, 0x0303) * 2)),
        ),
        Case(
            "early data that nobody announced",
            "0rtt-garbage",
            greets(None, puts(record(bytes(64), DATA, 0x0303))),
            reason=Reason.ALTERED,
            alert=Alert.BAD_RECORD_MAC,
        ),
    ]


def _ends() -> list[Case]:
    """Alerts, farewells and ends in the middle of something."""
    certificate, proof, end = Caller.certificate, Caller.proof, Caller.end
    return [
        broken("an alert in the clear", "unencrypted-alert", then(puts(record(b"\x02\x28", ALERT)))),
        Case(
            "an alert in the clear before Finished",
            "unencrypted-alert",
            steps(certificate, puts(record(b"\x02\x28", ALERT))),
        ),
        broken("an alert of no bytes", "empty-alert", then(sends(b"", ALERT))),
        broken(
            "an alert of no bytes, with zeros",
            "empty-alert",
            then(lambda caller: caller.send(b"", ALERT, zeros=50)),
        ),
        broken("an alert of one byte", "empty-alert", then(sends(b"\x02", ALERT))),
        broken("two alerts in a record", "empty-alert", then(sends(b"\x01\x5a\x01\x5a", ALERT))),
        broken(
            "an alert of an unknown level",
            "empty-alert",
            then(sends(b"\x09\x28", ALERT)),
            Reason.PEER_ALERT,
            None,
        ),
        broken("a fatal alert", "connection-abort", then(sends(b"\x02\x28", ALERT)), Reason.PEER_ALERT, None),
        Case(
            "a fatal alert before Finished",
            "connection-abort",
            steps(certificate, sends(b"\x02\x2a", ALERT)),
            reason=Reason.PEER_ALERT,
            alert=None,
        ),
        broken("a flood of warnings", "empty-alert", then(_many(100, sends(b"\x01\x5a", ALERT)))),
        Case(
            "a farewell",
            "connection-abort",
            then(sends(b"\x01\x00", ALERT)),
            End.LEFT,
            alert=Alert.CLOSE_NOTIFY,
        ),
        Case(
            "a farewell, cancelled by a person",
            "connection-abort",
            then(sends(b"\x01\x5a", ALERT), sends(b"\x01\x00", ALERT)),
            End.LEFT,
            alert=Alert.CLOSE_NOTIFY,
        ),
        ended(
            "a farewell before Finished",
            "connection-abort",
            steps(certificate, sends(b"\x01\x00", ALERT), end),
        ),
        ended("an end behind the server's Finished", "connection-abort", steps(end)),
        ended("an end behind the certificate", "connection-abort", steps(certificate, end)),
        ended("an end behind the proof", "connection-abort", steps(certificate, proof, end)),
        ended("an end within Finished", "connection-abort", steps(certificate, proof, halves_and_end)),
        Case("an end behind Finished", "connection-abort", then(end), End.LEFT, alert=None),
        Case("an end within a record", "connection-abort", then(_middle_of), End.LEFT, alert=None),
    ]


def halves_and_end(caller: Caller) -> None:
    """End within Finished."""
    caller.send(cut(0, 10)(caller.finished()), HANDSHAKE)
    caller.end()


def records() -> tuple[Case, ...]:
    """Give all of them."""
    return (*_changes(), *_records(), *_limits(), *_updating(), *_afterwards(), *_offers(), *_ends())
