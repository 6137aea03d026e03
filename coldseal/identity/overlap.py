"""An issuing CA begins, is rolled over with its predecessor still trusted, and its predecessor is retired.

Promises that no certificate in force stops being accepted: what is trusted grows before anything is issued
under it, and shrinks only when nothing below it is left, or a person insists. After a crash the same call
goes on. Keys of retired CAs are removed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import OperatorError
from coldseal.identity.authority import Authority, open_authority
from coldseal.identity.authority_folder import (
    CONFIG,
    LINKS,
    TRUST,
    encode_pem,
    load_folder,
    make_folder,
    read_certificate,
    read_plain,
    write_plain,
)
from coldseal.identity.files import replace_private_file
from coldseal.identity.register import Register
from coldseal.identity.roots import ISSUING_DAYS, make_key, newest_root, sign_issuing, sign_link
from coldseal.signing.keys import path_of
from coldseal.signing.private_files import write_private_file

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.identity.revocation import Issuer


_FILE: Final = re.compile(r"ca(-\d+)?\.(pem|key)")


class Begin(NamedTuple):
    """What an issuing CA begins with.

    Args:
        name: beginning of its name.
        passphrase: reference of the passphrase of its key, where that is a file.
        key: URI of a key that exists in a token or a TPM; empty: a file is made.
        crl_url: where its revocation list can be fetched.
        days: its life.
    """

    name: str = "coldseal"
    passphrase: str = ""
    key: str = ""
    crl_url: str = ""
    days: float = ISSUING_DAYS


def begin_authority(folder: Path, root: Issuer, begin: Begin, *, now: datetime) -> Authority:
    """Make an issuing CA below a root, in a folder that holds none.

    Raises:
        OperatorError: it holds one, the passphrase is missing, or the folder refuses.
    """
    make_folder(folder)
    if (folder / CONFIG).exists() or (folder / TRUST).exists():
        raise OperatorError(f"{folder} holds a CA already", "Choose another folder, or use roll-over")
    uri = begin.key or f"file:ca.key?passphrase={begin.passphrase}"
    key = make_key(uri, base=folder)
    certificate = sign_issuing(root, key, f"{begin.name} CA 1", now=now, days=begin.days)
    write_private_file(folder / TRUST, encode_pem([root.certificate]))
    write_private_file(folder / "ca.pem", encode_pem([certificate]))
    ca = {"name": begin.name, "number": 1, "certificate": "ca.pem", "key": uri, "crl_url": begin.crl_url}
    lives = {"device": 7, "gateway": 7, "service": 7, "operator": 7, "crl": 7}
    write_plain(folder, {"ca": ca, "days": lives})
    authority = open_authority(folder)
    authority.deny((), now=now)
    return authority


def roll_over(
    folder: Path, old_root: Issuer, new_root: Issuer | None, begin: Begin, *, now: datetime
) -> Authority:
    """Make a new issuing CA, below a new root if one is given; what was issued before goes on to count.

    Args:
        folder: of the CA.
        old_root: the root that is trusted now.
        new_root: the root that is to come; None: the issuing CA alone changes.
        begin: key, passphrase and life of the new issuing CA; its name stays.
        now: this moment, UTC.

    Raises:
        OperatorError: it is a development CA, a root is still being rolled over, or the folder refuses.
    """
    if not (folder / CONFIG).exists():
        raise OperatorError(f"{folder} is a development CA", "Make a CA with: coldseal identity ca init")
    with Register(folder).locked():
        authority, plain = open_authority(folder), read_plain(folder)
        trusted = authority.trusted()
        if old_root.certificate not in trusted:
            raise OperatorError(f"{folder} does not trust that root", "Bring the root that signed this CA")
        if new_root is not None and (folder / LINKS).exists() and new_root.certificate not in trusted:
            raise OperatorError("a root is still being rolled over", "First: coldseal identity ca retire DIR")
        number = plain["ca"]["number"] + 1
        while (folder / f"ca-{number}.key").exists() or (folder / f"ca-{number}.pem").exists():
            number += 1  # a roll-over that was interrupted left them; its key signed nothing
        uri = begin.key or f"file:ca-{number}.key?passphrase={begin.passphrase}"
        key = make_key(uri, base=folder)
        name = f"{plain['ca'].get('name', begin.name)} CA {number}"
        certificate = sign_issuing(new_root or old_root, key, name, now=now, days=begin.days)
        write_private_file(folder / f"ca-{number}.pem", encode_pem([certificate]))
        if new_root is not None:
            links = [
                sign_link(old_root, new_root, now=now),  # NewWithOld: the old root vouches for the new one
                sign_link(new_root, old_root, now=now),  # OldWithNew
            ]
            replace_private_file(folder / LINKS, encode_pem(links))
            roots = [new_root.certificate, *(each for each in trusted if each != new_root.certificate)]
            replace_private_file(folder / TRUST, encode_pem(roots))
        former = {key: plain["ca"][key] for key in ("certificate", "key")}
        plain["ca"] |= {"number": number, "certificate": f"ca-{number}.pem", "key": uri}
        plain["former"] = [*plain.get("former", ()), former]
        write_plain(folder, plain)
    authority = open_authority(folder)
    authority.deny((), now=now)
    return authority


def retire(folder: Path, *, now: datetime, is_forced: bool = False) -> list[str]:
    """Take everything out that was rolled over: old issuing CAs with their keys, old roots, links.

    Args:
        folder: of the CA.
        now: this moment, UTC.
        is_forced: also while certificates below it have not ended; they count no more from then on.

    Returns:
        The names of what was taken out.

    Raises:
        OperatorError: certificates below it are in force, or the folder refuses.
    """
    with Register(folder).locked():
        authority, plain = open_authority(folder), read_plain(folder)
        if not is_forced:
            _require_unused(authority, now)
        roots = authority.trusted()
        kept = [each for each in roots if each.subject == authority.issuer.certificate.issuer]
        if plain.pop("former", None):
            write_plain(folder, plain)
        (folder / LINKS).unlink(missing_ok=True)
        replace_private_file(folder / TRUST, encode_pem(kept))
        _remove_retired(folder)
    gone = [each.certificate.subject.rfc4514_string() for each in authority.former]
    gone += [each.subject.rfc4514_string() for each in roots if each not in kept]
    open_authority(folder).deny((), now=now)
    return gone


def trusted_root(rootdir: Path, authority: Authority) -> int:
    """Give the number of the root in a folder that signed an issuing CA.

    Raises:
        OperatorError: none of them did.
    """
    for number in range(newest_root(rootdir), 0, -1):
        path = rootdir / f"root-{number}.pem"
        if path.exists() and read_certificate(path).subject == authority.issuer.certificate.issuer:
            return number
    raise OperatorError(f"{rootdir} does not hold the root of this CA", "Bring the folder of its root")


def _remove_retired(folder: Path) -> None:
    """Remove certificates and keys of CAs that `ca.toml` does not name, also those of an interrupted call."""
    ca = load_folder(folder).ca
    named = {ca.certificate.name}
    if ca.key.startswith("file:"):
        named.add(path_of(ca.key, folder).name)
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name) and path.name not in named:
            path.unlink()


def _require_unused(authority: Authority, now: datetime) -> None:
    """Insist that nothing below an old issuing CA is in force."""
    old, denied = {each.id for each in authority.former}, authority.register.denied()
    live = [
        each
        for each in authority.register.issued()
        if each.issuer in old and each.not_after > now.timestamp() and each.serial not in denied
    ]
    if live:
        last = max(live, key=lambda each: each.not_after)
        end = datetime.fromtimestamp(last.not_after, now.tzinfo)
        raise OperatorError(
            f"{len(live)} certificates of an old CA are in force, the last one of {last.role} {last.name}",
            f"Wait until they are renewed or have ended ({end:%Y-%m-%d %H:%M} UTC), or give --force",
        )
