"""What a hostile caller does behind the key exchange, as data: the second half of the handshake.

After the subjects of tlsfuzzer's scripts for TLS 1.3; `scripts.toml` says which, and why others do not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from coldseal.identity.handshakes import Reason
from tests.perimeter.conversation import (
    CERTIFICATE,
    CONTEXT,
    FINISHED,
    KEY_UPDATE,
    MAX_PLAIN,
    PROOF,
    RSA_PKCS1,
    Alert,
    Caller,
    message,
)
from tests.perimeter.hostile import ALERT, HANDSHAKE, hello, record, vector

MAX_MESSAGE = (1 << 24) - 1
MAX_FINISHED = 64
"""Bytes of the longest hash that OpenSSL has: a longer Finished is not read to its end."""
Change = Callable[[bytes], bytes]
Play = Callable[[Caller], None]


class End(StrEnum):
    """What becomes of a caller."""

    REFUSED = "refused at the handshake"
    BROKEN = "cut behind the handshake"
    LEFT = "gone, with nothing to say of it"
    SERVED = "served"


class Case(NamedTuple):
    """One conversation.

    Args:
        name: what is done.
        script: whose subject it is: a name in scripts.toml.
        play: does it; a request is sent behind it.
        end: what becomes of the caller.
        reason: under which it is counted and told of; None: any.
        alert: what the TLS library has to say of it, RFC 8446; None: nothing.
        suite: the cipher suite.
        key: the kind of the caller's key.
        is_long: one of many of a kind, for the campaign.
    """

    name: str
    script: str
    play: Play
    end: End = End.REFUSED
    reason: Reason | None = Reason.MALFORMED
    alert: Alert | None = Alert.UNEXPECTED_MESSAGE
    suite: str = "AES-128"
    key: str = "ec"
    is_long: bool = False


# Changes of bytes


def turned(bit: int) -> Change:
    """Turn one bit; a negative number counts from the end."""

    def change(said: bytes) -> bytes:
        raw = bytearray(said)
        byte, place = divmod(bit % (8 * len(said)), 8)
        raw[byte] ^= 1 << place
        return bytes(raw)

    return change


def cut(begin: int | None = None, end: int | None = None) -> Change:
    """Keep a part."""
    return lambda said: said[begin:end]


def wrapped(before: bytes = b"", behind: bytes = b"") -> Change:
    """Put bytes before and behind."""
    return lambda said: before + said + behind


def filled(size: int) -> Change:
    """Fill up with zeros."""
    return lambda said: said.ljust(size, b"\0")


def put(at: int, new: bytes) -> Change:
    """Write other bytes at a place."""
    return lambda said: said[:at] + new + said[at + len(new) :]


def body(change: Change) -> Change:
    """Change what is in a message, and write its length anew."""
    return lambda said: message(said[0], change(said[4:]))


# Ways to go on behind the key exchange


def answers(**changes: Change) -> Play:
    """Answer with a change of ``certificate``, ``proof`` or ``finished``."""

    def play(caller: Caller) -> None:
        caller.greet()
        caller.answer(**changes)

    return play


def proves(make: Callable[[Caller], bytes]) -> Play:
    """Answer with a proof of its own."""

    def play(caller: Caller) -> None:
        caller.greet()
        caller.answer(proof=lambda _: make(caller))

    return play


def by_scheme(scheme: int) -> Callable[[Caller], bytes]:
    """Prove by a scheme, or say so."""
    return lambda caller: caller.proof(scheme=scheme)


def shows(change: Change) -> Play:
    """Show a changed certificate."""

    def play(caller: Caller) -> None:
        caller.greet()
        caller.chain[0] = change(caller.chain[0])
        caller.answer()

    return play


def steps(*taken: Callable[[Caller], bytes | None]) -> Play:
    """Take other steps than one should; a step that gives bytes says them as a message."""

    def play(caller: Caller) -> None:
        caller.greet()
        for step in taken:
            said = step(caller)
            if said is not None:
                caller.tell(said)

    return play


def says(kind: int, content: bytes = b"") -> Callable[[Caller], bytes]:
    """Say a message of a kind."""
    return lambda _: message(kind, content)


def sends(content: bytes, kind: int) -> Play:
    """Send a sealed record."""
    return lambda caller: caller.send(content, kind)


def puts(data: bytes) -> Play:
    """Send bytes in the clear."""
    return lambda caller: caller.put(data)


def plain(make: Callable[[Caller], bytes]) -> Play:
    """Send a message in a record that is not sealed."""
    return lambda caller: caller.put(record(make(caller), version=0x0303))


def halves(between: Play) -> Play:
    """Do something between the halves of Finished."""

    def play(caller: Caller) -> None:
        said = caller.finished()
        caller.send(said[:18], HANDSHAKE)
        between(caller)
        caller.send(said[18:], HANDSHAKE)

    return play


def in_pieces(size: int) -> Play:
    """Answer in records of some bytes."""

    def play(caller: Caller) -> None:
        caller.greet()
        for make in (caller.certificate, caller.proof, caller.finished):
            caller.tell(make(), pieces=size)
        caller.switch()

    return play


def in_one(caller: Caller) -> None:
    """Answer in one record."""
    caller.greet()
    said = b""
    for make in (caller.certificate, caller.proof, caller.finished):
        one = make()
        caller.hear(one)
        said += one
    caller.send(said, HANDSHAKE)
    caller.switch()


def of_another(caller: Caller) -> None:
    """Prove with a key that does not belong to the certificate."""
    caller.greet()
    caller.take_other_key()
    caller.answer()


def _without_leaf(caller: Caller) -> None:
    """Show the CA in place of the caller."""
    caller.greet()
    caller.chain = caller.chain[1:]
    caller.answer()


def _finished() -> list[Case]:
    """Finished that is not what it should be."""
    found = [
        Case(
            f"Finished, {suite}: bit {bit} turned",
            "finished",
            answers(finished=body(turned(bit))),
            reason=Reason.PROOF,
            alert=Alert.DECRYPT_ERROR,
            suite=suite,
            is_long=bit not in {0, length * 4, length * 8 - 1},
        )
        for suite, length in (("AES-128", 32), ("AES-256", 48))
        for bit in range(length * 8)
    ]
    changes = {
        "of no bytes": cut(0, 0),
        "of 12 bytes, as in TLS 1.2": cut(0, 12),
        **{f"without its last {count}": cut(None, -count) for count in (1, 2, 4, 8, 16, 31)},
        **{f"without its first {count}": cut(count) for count in (1, 2, 4, 8, 16, 31)},
        **{f"with {count} behind it": wrapped(behind=bytes(count)) for count in (1, 2, 4, 8, 16, 32)},
        **{f"with {count} before it": wrapped(bytes(count)) for count in (1, 2, 4, 8, 16, 32)},
        "with one on both sides": wrapped(b"\0", b"\0"),
    }
    found += [
        Case(
            f"Finished {name}, {suite}",
            "finished",
            answers(finished=body(change)),
            reason=Reason.MALFORMED if len(change(bytes(length))) <= MAX_FINISHED else Reason.CHAIN_SIZE,
            alert=Alert.DECODE_ERROR
            if len(change(bytes(length))) <= MAX_FINISHED
            else Alert.ILLEGAL_PARAMETER,
            suite=suite,
            is_long=suite != "AES-128" or name[-1] in "248",
        )
        for suite, length in (("AES-128", 32), ("AES-256", 48))
        for name, change in changes.items()
    ]
    found += [
        Case(
            f"Finished of {size} bytes",
            "finished",
            answers(finished=body(filled(size))),
            reason=Reason.CHAIN_SIZE,
            alert=Alert.ILLEGAL_PARAMETER,
            is_long=size > MAX_PLAIN,
        )
        for size in (MAX_PLAIN - 4, 0x20000, 0x30000, MAX_MESSAGE)
    ]
    return found


def _order() -> list[Case]:
    """Messages that are missing, doubled, in another order, in the clear or under other keys."""
    certificate, proof, finished = Caller.certificate, Caller.proof, Caller.finished
    return [
        Case("Finished at once", "conversation", steps(finished)),
        Case("no proof of the key", "certificate-verify", steps(certificate, finished)),
        Case("the proof before the certificate", "certificate-verify", steps(proof, certificate, finished)),
        Case("the certificate twice", "conversation", steps(certificate, certificate)),
        Case("the proof twice", "certificate-verify", steps(certificate, proof, proof)),
        Case("a KeyUpdate before Finished", "keyupdate", steps(certificate, proof, says(KEY_UPDATE, b"\0"))),
        Case("a message of an unknown kind", "conversation", steps(says(0xFE))),
        Case("a compressed certificate", "client-certificate-compression", steps(says(25, bytes(8)))),
        Case("a second hello", "conversation", steps(lambda _: hello())),
        Case("a server's message", "conversation", steps(says(8, b"\0\0"))),
        Case("the end of early data that never was", "0rtt-garbage", steps(says(5))),
        Case("data before Finished", "early-data", steps(certificate, proof, sends(b"x", 23))),
        Case(
            "data before Finished, under the keys behind it",
            "early-data",
            steps(certificate, proof, Caller.switch, sends(b"x", 23)),
            reason=Reason.ALTERED,
            alert=Alert.BAD_RECORD_MAC,
        ),
        Case("Finished in the clear", "finished-plaintext", steps(certificate, proof, plain(finished))),
        Case("the certificate in the clear", "finished-plaintext", steps(plain(certificate))),
        Case(
            "Finished under the keys behind it",
            "finished-plaintext",
            steps(certificate, proof, Caller.switch, sends(message(FINISHED, bytes(32)), HANDSHAKE)),
            reason=Reason.ALTERED,
            alert=Alert.BAD_RECORD_MAC,
        ),
        Case(
            "Finished over other messages",
            "finished",
            steps(certificate, proof, lambda caller: caller.hear(b"x"), finished),
            reason=Reason.PROOF,
            alert=Alert.DECRYPT_ERROR,
        ),
        Case("data within Finished", "zero-length-data", steps(certificate, proof, halves(sends(b"x", 23)))),
        Case(
            "data of no bytes within Finished",
            "zero-length-data",
            steps(certificate, proof, halves(sends(b"", 23))),
        ),
        Case(
            "an alert within Finished",
            "unencrypted-alert",
            steps(certificate, proof, halves(sends(b"\x02\x28", ALERT))),
            reason=Reason.PEER_ALERT,
            alert=None,
        ),
        Case("messages in pieces of 1 byte", "record-layer-limits", in_pieces(1), End.SERVED),
        Case("messages in pieces of 50 bytes", "conversation", in_pieces(50), End.SERVED),
        Case("all messages in one record", "conversation", in_one, End.SERVED),
    ]


def _false(
    name: str, play: Play, *, script: str = "certificate-verify", key: str = "ec", is_long: bool = False
) -> Case:
    """Make a case whose proof is false."""
    return Case(name, script, play, reason=Reason.PROOF, alert=Alert.DECRYPT_ERROR, key=key, is_long=is_long)


def _proofs() -> list[Case]:
    """CertificateVerify that proves nothing."""
    wrong: dict[str, Callable[[Caller], bytes]] = {
        "made for a server": lambda caller: caller.proof(context=b"TLS 1.3, server CertificateVerify"),
        "without what it is for": lambda caller: caller.proof(context=b""),
        "made for something else": lambda caller: caller.proof(context=CONTEXT + b" "),
        "without its 64 spaces": lambda caller: caller.proof(pad=b""),
        "over other messages": lambda caller: caller.proof(transcript=bytes(32)),
        "with its last bit turned": lambda caller: turned(-1)(caller.proof()),
    }
    found = [
        _false(f"a proof {name}, key {key}", proves(make), key=key)
        for name, make in wrong.items()
        for key in ("ec", "rsa")
    ]
    schemes = {
        "ec": (RSA_PKCS1, 0x0804, 0x0503, 0x0203, 0x0807, 0xFEFE, 0x0001),
        "rsa": (RSA_PKCS1, 0x0501, 0x0201, 0x0403, 0x0809, 0x0807, 0xFEFE),
    }
    found += [
        Case(
            f"a proof by scheme {scheme:#06x}, key {key}",
            "certificate-verify",
            proves(by_scheme(scheme)),
            reason=Reason.PROOF,
            alert=Alert.ILLEGAL_PARAMETER,
            key=key,
        )
        for key, all_of in schemes.items()
        for scheme in all_of
    ]
    changes = {
        "that is cut off": (cut(None, -1), Alert.DECODE_ERROR, Reason.MALFORMED),
        "with a byte behind it": (wrapped(behind=b"\0"), Alert.DECODE_ERROR, Reason.MALFORMED),
        "of nothing": (cut(0, 0), Alert.DECODE_ERROR, Reason.MALFORMED),
        "without a signature": (lambda said: said[:2] + bytes(2), Alert.DECRYPT_ERROR, Reason.PROOF),
    }
    found += [
        Case(f"a proof {name}", "certificate-verify", answers(proof=body(change)), reason=reason, alert=alert)
        for name, (change, alert, reason) in changes.items()
    ]
    found += [
        _false(
            f"a proof: bit {bit} of its signature turned",
            answers(proof=turned(8 * 8 + bit)),
            script="ecdsa-in-certificate-verify",
            is_long=bit % 160 != 5,
        )
        for bit in range(68 * 8)
    ]
    return [
        *found,
        _false("a proof by another key", of_another),
        Case("a proof by RSA-PSS", "certificate-verify", Caller.shake, End.SERVED, key="rsa"),
    ]


_BAD_DER: dict[str, Change] = {
    "cut in half": cut(0, 200),
    "that is none": lambda der: b"\xde" * len(der),
    "with a byte behind it": wrapped(behind=b"\0"),
}


def _certificates() -> list[Case]:
    """Certificate messages that are not well formed."""
    malformed = {
        "of no bytes": cut(0, 0),
        "with a list that is too long": lambda said: said[:1] + vector(said[4:] + bytes(3), 3),
        "that ends too early": cut(None, -1),
        "with a byte behind it": wrapped(behind=b"\0"),
        "with a context": lambda said: b"\x01x" + said[1:],
        "with a certificate longer than itself": put(4, b"\xff\xff\xff"),
        "with a certificate of no bytes": lambda _: b"\0" + vector(bytes(5), 3),
        "with an extension that ends too early": lambda said: put(1, (len(said) - 3).to_bytes(3, "big"))(
            said[:-2] + b"\x00\x01\x00"
        ),
    }
    return [
        *(
            Case(
                f"a certificate message {name}",
                "certificate-malformed",
                answers(certificate=body(change)),
                alert=Alert.DECODE_ERROR,
            )
            for name, change in malformed.items()
        ),
        *(
            Case(
                f"a certificate {name}",
                "certificate-malformed",
                shows(change),
                alert=Alert.DECODE_ERROR,
            )
            for name, change in _BAD_DER.items()
        ),
        Case(
            "the CA in place of the caller",
            "certificate-malformed",
            _without_leaf,
            reason=Reason.PURPOSE,
            alert=Alert.UNSUPPORTED_CERTIFICATE,
        ),
        Case(
            "a certificate message of 16 MB announced",
            "record-layer-limits",
            steps(sends(bytes((CERTIFICATE,)) + b"\xff\xff\xff" + bytes(1_000), HANDSHAKE)),
            reason=Reason.CHAIN_SIZE,
            alert=Alert.ILLEGAL_PARAMETER,
        ),
        Case(
            "a proof of 16 MB announced",
            "record-layer-limits",
            steps(Caller.certificate, sends(bytes((PROOF,)) + b"\xff\xff\xff" + bytes(1_000), HANDSHAKE)),
            reason=Reason.CHAIN_SIZE,
            alert=Alert.ILLEGAL_PARAMETER,
        ),
    ]


def handshakes() -> tuple[Case, ...]:
    """Give all of the handshake's second half."""
    return (*_finished(), *_order(), *_proofs(), *_certificates())
