"""``coldseal identity key``: keys in a TPM or a token, secrets that a TPM seals, its counter of segments.

A key or a sealed file is never overwritten, but for a sealed one that is sealed anew. No secret is printed.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.commands import Group
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.transport import place_of, request
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.gateway.config import GatewayConfig

_HERE = Path()
_PCRS = 24  # of a TPM for a PC
_SHA256_DIGITS = 64


def make(
    uri: str,
    /,
    *,
    transport: bool = False,
    kind: str = "P-256",
    tcti: str = "",
    module: Path | None = None,
    as_json: bool = False,
) -> int:
    """Make a signing key in a TPM or a token; it never leaves it.

    In a TPM it is restricted, bound to the chip and for signing alone. TLS needs one that is not restricted:
    say --transport for the key of a certificate, and use that one for nothing else.

    Args:
        uri: tpm:0x81008001 (a free persistent handle), tpm:key=FILE (wrapped by the chip), or
            pkcs11:token=T;object=O?pin-source=file:PIN.
        transport: a transport key, for uplink.key; as tpm:key=FILE only.
        kind: P-256, or Ed25519 where a token can.
        tcti: the way to the TPM, such as device:/dev/tpmrm0.
        module: library of the token.
        as_json: answer with one JSON object.
    """
    from coldseal.signing.holders import is_held, make_held, make_transport

    if transport:
        key = make_transport(place_of(uri, tcti))
        _print({"key": uri, "public": base64.b64encode(key.spki).decode()}, as_json=as_json)
        return 0
    whole = _complete(uri, tcti, module)
    if not is_held(whole):
        raise OperatorError(f"{uri} is neither in a TPM nor in a token", "Write tpm:… or pkcs11:…")
    made = make_held(whole, _HERE, kind=kind)
    _print({"key": uri, "public": base64.b64encode(made.spki).decode()}, as_json=as_json)
    return 0


def show(uri: str, /, *, tcti: str = "", module: Path | None = None, as_json: bool = False) -> int:
    """Show the public part of a P-256 signing key, wherever it is held.

    Args:
        uri: file:…, tpm:… or pkcs11:….
        tcti: the way to the TPM.
        module: library of the token.
        as_json: answer with one JSON object.
    """
    from coldseal.signing.keys import open_ecdsa

    signer = open_ecdsa(_complete(uri, tcti, module), base=_HERE)
    place = "hardware" if signer.is_held else "software"
    public = base64.b64encode(signer.spki).decode()
    _print({"key": uri, "kid": signer.kid, "public": public, "held": place}, as_json=as_json)
    return 0


def seal(
    secret: Path, sealed: Path, /, *, pcrs: str = "0,2,4,7", tcti: str = "", as_json: bool = False
) -> int:
    """Seal a secret to this machine's TPM and to what it has booted.

    The secret's file stays: keep it as the escrowed copy, away from this machine, and remove it here.

    Args:
        secret: file of mode 0600, such as store.key.
        sealed: file to write; name it as tpm:seal=FILE.
        pcrs: PCRs of the SHA-256 bank.
        tcti: the way to the TPM.
        as_json: answer with one JSON object.
    """
    from coldseal.signing.private_files import read_private_file, write_private_file
    from coldseal.signing.tpm import sealing

    way, content = _way(tcti), read_private_file(secret).strip()
    now = sealing.read_pcrs(way, _numbers(pcrs))
    write_private_file(sealed, sealing.encode_sealed(sealing.seal(way, content, [now])))
    _print({"sealed": str(sealed), "pcrs": ",".join(str(pcr) for pcr in now)}, as_json=as_json)
    if not as_json:
        print_lines("", f"Keep {secret} as the escrowed copy, away from this machine, and remove it here.")
    return 0


def reseal(sealed: Path, /, *, expect: list[str] | None = None, tcti: str = "", as_json: bool = False) -> int:
    """Seal a secret anew while it can be opened: for the state now, and for one that is to come.

    Before a planned update name the values that PCRs will have; after it, run this without any.

    Args:
        sealed: the sealed file, which is replaced.
        expect: PCR=VALUE that will be after an update, such as 4=<64 hex digits>; may be given several times.
        tcti: the way to the TPM.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.files import replace_private_file
    from coldseal.signing.private_files import read_private_file
    from coldseal.signing.tpm import sealing

    way = _way(tcti)
    found = sealing.parse_sealed(read_private_file(sealed), where=str(sealed))
    content = sealing.unseal(way, found)
    now = sealing.read_pcrs(way, found.branches[0])
    branches = [now]
    if expect:
        branches.append({**now, **dict(_expected(each, now) for each in expect)})
    replace_private_file(sealed, sealing.encode_sealed(sealing.seal(way, content, branches)))
    _print({"sealed": str(sealed), "states": str(len(branches))}, as_json=as_json)
    return 0


def count(config: Path, /, *, accept: bool = False, why: str = "", as_json: bool = False) -> int:
    """Show the TPM's counter of ended segments and what this disk knows of it.

    Args:
        config: gateway.toml.
        accept: take the chip's counter over as it is, after chip or index were replaced. It is put on record
            first, and takes a role that may; no gateway may run.
        why: with --accept: the reason, which stands in the log.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config)
    if not settings.hardware.counter:
        raise OperatorError(f"{config} names no counter", "Set hardware.counter, such as 0x01800010")
    if accept and not why.strip():
        raise OperatorError("the counter was to be taken over without a reason", "Say why: --why")
    shown = _counts(settings)
    if accept:
        asyncio.run(_take_over(settings, why, shown))
        shown = _counts(settings)
    _print(shown, as_json=as_json)
    return 0


def _counts(config: GatewayConfig) -> dict[str, str]:
    """Say what chip and disk have counted."""
    from coldseal.gateway.counting import Book
    from coldseal.signing.holders import open_counter
    from coldseal.signing.secrets import read_symmetric_key

    key = read_symmetric_key(config.store.key, _HERE)
    with closing(Book(config.gateway.data, key, readonly=True)) as book:
        newest = book.newest()
    value = open_counter(config.keys.checkpoint, _HERE, config.hardware.counter).read()
    return {
        "chip": "none" if value is None else str(value),
        "disk": "none" if newest is None else str(newest.value),
        "size": "0" if newest is None else str(newest.size),
    }


async def _take_over(config: GatewayConfig, why: str, shown: dict[str, str]) -> None:
    """Put on record who takes the chip's counter over, from what to what, and do it."""
    from coldseal.core.access import Action
    from coldseal.gateway.counting import accept
    from coldseal.gateway.persons import Asked
    from coldseal.gateway.writer import Run
    from coldseal.observe.logs import configure
    from coldseal.signing.secrets import read_symmetric_key

    configure(level="error")  # the answer says what was done
    async with Run.open(config, Asked(Action.RECOVER, why, {"do": "accept-counter", **shown})):
        accept(config, read_symmetric_key(config.store.key, _HERE))


def _complete(uri: str, tcti: str, module: Path | None) -> str:
    """Give a URI with the way to the chip or the library of the token."""
    from coldseal.signing.uris import complete

    return complete(uri, tcti=_way(tcti), module=module)


def _way(tcti: str) -> str:
    """Give the way to the chip."""
    from coldseal.signing.uris import KERNEL

    return tcti or KERNEL


def _numbers(pcrs: str) -> list[int]:
    """Read numbers of PCRs."""
    parts = [each.strip() for each in pcrs.split(",")]
    if not all(each.isdecimal() and int(each) < _PCRS for each in parts):
        raise OperatorError(f"--pcrs is {pcrs!r}", "Write numbers from 0 to 23, such as 0,2,4,7")
    return [int(each) for each in parts]


def _expected(text: str, known: dict[int, str]) -> tuple[int, str]:
    """Read the value that a PCR will have."""
    pcr, _, value = text.partition("=")
    try:
        found = int(pcr), bytes.fromhex(value).hex()
    except ValueError:
        found = -1, ""
    if found[0] not in known or len(found[1]) != _SHA256_DIGITS:
        hint = f"Write PCR=VALUE with one of {', '.join(str(each) for each in known)} and 64 hex digits"
        raise OperatorError(f"--expect is {text!r}", hint)
    return found


def _print(facts: dict[str, str], *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


KEY = Group(
    "key",
    "keys in a TPM or token, secrets that a TPM seals, its counter",
    (make, request, show, seal, reseal, count),
)
