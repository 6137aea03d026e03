"""`coldseal identity ca`: a small CA, its root in a folder of its own that is brought only when it signs.

What is issued, denied and rolled over is decided in `identity`; here arguments become calls. No passphrase is
an argument: it is named by reference. A key is never overwritten.
"""

import getpass
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.commands import Group
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.transport import role_of, sign
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.identity.authority import Authority

ISSUING_DAYS = 365
ROOT_DAYS = 3_650


def init(
    folder: Path,
    /,
    *,
    root: Path,
    root_passphrase: str,
    passphrase: str = "",
    key: str = "",
    name: str = "coldseal",
    crl_url: str = "",
    days: int = ISSUING_DAYS,
    root_days: int = ROOT_DAYS,
    as_json: bool = False,
) -> int:
    """Make an issuing CA below a root; the root is made too where its folder holds none.

    Args:
        folder: of the issuing CA; must not hold one yet.
        root: folder of the root, kept offline afterwards.
        root_passphrase: passphrase of the root's key, by reference: file:PATH or env:NAME.
        passphrase: passphrase of the issuing CA's key, by reference; may be left out with --key.
        key: URI of an existing key for the issuing CA, such as pkcs11:…; without it a file is made.
        name: beginning of the certificates' names.
        crl_url: where the revocation list can be fetched; written into certificates.
        days: life of the issuing CA.
        root_days: life of the root.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.overlap import Begin, begin_authority
    from coldseal.identity.roots import create_root, newest_root, open_root

    now = _now()
    secret = _absolute(root_passphrase)
    if newest_root(root):
        signer = open_root(root, secret)
    else:
        signer = create_root(root, secret, name=name, now=now, days=root_days)
    begin = Begin(name, _key_passphrase(passphrase, key), key, crl_url, days)
    authority = begin_authority(folder, signer, begin, now=now)
    facts = _facts(authority)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
        print_lines("", f"Now take {root} away: it is needed again for roll-over only.")
    return 0


def issue(
    folder: Path,
    role: str,
    name: str,
    /,
    *,
    hosts: list[str] | None = None,
    days: float | None = None,
    as_json: bool = False,
) -> int:
    """Make a key and a certificate, in the CA's folder, below ROLE/NAME.

    Args:
        folder: of the CA.
        role: device, gateway, service or operator.
        name: the holder's name.
        hosts: a name or address it is reached by, beside loopback; may be given several times.
        days: its life; without it, what [days] in ca.toml says.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    path = open_authority(folder).issue(role_of(role), name, now=_now(), days=days, hosts=tuple(hosts or ()))
    if as_json:
        print_json({"certificate": str(path), "key": str(path.with_suffix(".key"))})
    else:
        print_lines(str(path))
    return 0


def revoke(
    folder: Path,
    role: str,
    name: str,
    /,
    *,
    reason: str = "unspecified",
    note: str = "",
    as_json: bool = False,
) -> int:
    """Deny every certificate in force of one holder, and write the revocation list anew.

    Args:
        folder: of the CA.
        role: device, gateway, service or operator.
        name: the holder's name.
        reason: unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation.
        note: why, in words; kept in the deny-list.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    authority, now = open_authority(folder), _now()
    serials = [
        each.serial
        for each in authority.register.issued()
        if (each.role, each.name) == (role_of(role), name) and each.not_after > now.timestamp()
    ]
    if not serials:
        raise OperatorError(f"{folder} has no certificate in force of {role} {name}", "See: ca show DIR")
    return _deny(authority, serials, reason, note, as_json=as_json)


def deny(
    folder: Path,
    serials: list[str],
    /,
    *,
    reason: str = "unspecified",
    note: str = "",
    as_json: bool = False,
) -> int:
    """Deny serial numbers: at once where this CA renews, and everywhere by the revocation list.

    Args:
        folder: of the CA.
        serials: serial numbers, hex.
        reason: unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation.
        note: why, in words; kept in the deny-list.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority
    from coldseal.identity.register import parse_serial

    parsed = [parse_serial(each) for each in serials]
    return _deny(open_authority(folder), parsed, reason, note, as_json=as_json)


def crl(folder: Path, /, *, as_json: bool = False) -> int:
    """Give the revocation list a new life; by a timer, where no service with `[est]` does it.

    Args:
        folder: of the CA.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    authority = open_authority(folder)
    path = authority.deny((), now=_now())
    if as_json:
        print_json({"crl": str(path), "denied": len(authority.register.denied())})
    else:
        print_lines(f"{path}: for {authority.config.days.crl:g} days")
    return 0


def roll_over(
    folder: Path,
    /,
    *,
    root: Path,
    root_passphrase: str,
    passphrase: str = "",
    key: str = "",
    new_root: bool = False,
    days: int = ISSUING_DAYS,
    root_days: int = ROOT_DAYS,
    as_json: bool = False,
) -> int:
    """Make a new issuing CA, and a new root if asked; what was issued before goes on to count until `retire`.

    Args:
        folder: of the CA.
        root: folder of the root.
        root_passphrase: passphrase of the roots' keys, by reference: file:PATH or env:NAME.
        passphrase: passphrase of the new issuing CA's key, by reference; may be left out with --key.
        key: URI of an existing key for the new issuing CA, such as pkcs11:…; without it a file is made.
        new_root: make a new root too, with certificates that link it to the old one.
        days: life of the new issuing CA.
        root_days: life of the new root.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority
    from coldseal.identity.overlap import Begin, trusted_root
    from coldseal.identity.overlap import roll_over as roll_over_ca
    from coldseal.identity.roots import create_root, open_root

    now, secret = _now(), _absolute(root_passphrase)
    authority = open_authority(folder)
    old = open_root(root, secret, trusted_root(root, authority))
    name = authority.config.ca.name
    begin = Begin(name, _key_passphrase(passphrase, key), key, "", days)
    new = create_root(root, secret, name=name, now=now, days=root_days) if new_root else None
    facts = _facts(roll_over_ca(folder, old, new, begin, now=now))
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
        print_lines("", "Everything renews below the new CA by itself, within half of its life;")
        print_lines(f"then: coldseal identity ca retire {folder}")
    return 0


def retire(folder: Path, /, *, force: bool = False, as_json: bool = False) -> int:
    """Take out what was rolled over: old issuing CAs and their keys, old roots, links.

    Args:
        folder: of the CA.
        force: also while certificates below it are in force; they count no more from then on.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.overlap import retire as retire_ca

    gone = retire_ca(folder, now=_now(), is_forced=force)
    if as_json:
        print_json({"retired": gone})
    else:
        print_lines(*(f"retired {name}" for name in gone) if gone else ("nothing to retire",))
    return 0


def show(folder: Path, /, *, as_json: bool = False) -> int:
    """Show a CA: who signs, who is trusted, what is in force and what is denied.

    Args:
        folder: of the CA.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    authority, now = open_authority(folder), _now()
    denied = authority.register.denied()
    live = [
        {"serial": each.serial, "role": each.role, "name": each.name, "ends": _time(each.not_after)}
        for each in authority.register.issued()
        if each.not_after > now.timestamp() and each.serial not in denied
    ]
    if as_json:
        lines = {serial: {"reason": each.reason, "note": each.note} for serial, each in denied.items()}
        print_json({**_facts(authority), "in_force": live, "denied": lines})
        return 0
    print_facts({**_facts(authority), "in_force": len(live), "denied": len(denied)})
    print_lines(
        "", *(f"{each['ends']}  {each['role']:<8}  {each['serial']}  {each['name']}" for each in live)
    )
    return 0


def _deny(authority: "Authority", serials: list[str], reason: str, note: str, *, as_json: bool) -> int:
    """Deny serial numbers and tell which."""
    path = authority.deny(serials, now=_now(), reason=reason, who=getpass.getuser(), note=note)
    if as_json:
        print_json({"crl": str(path), "denied": serials})
    else:
        print_lines(*(f"denied {serial}" for serial in serials), f"written to {path}")
    return 0


def _facts(authority: "Authority") -> dict[str, object]:
    """Describe a CA."""
    from coldseal.identity.authority import CRL, TRUST

    certificate = authority.issuer.certificate
    left = math.floor((certificate.not_valid_after_utc - _now()) / timedelta(days=1))
    return {
        "issuer": certificate.subject.rfc4514_string(),
        "days_left": left,
        "trusted": ", ".join(each.subject.rfc4514_string() for each in authority.trusted()),
        "former": ", ".join(each.certificate.subject.rfc4514_string() for each in authority.former) or "none",
        "trust": str(authority.folder / TRUST),
        "crl": str(authority.folder / CRL),
    }


def _key_passphrase(passphrase: str, key: str) -> str:
    """Insist on a passphrase for a key that is made as a file."""
    if not passphrase and not key:
        raise OperatorError("the issuing CA has no passphrase", "Give --passphrase file:PATH, or --key URI")
    return _absolute(passphrase) if passphrase else ""


def _absolute(reference: str) -> str:
    """Make a reference's file absolute: it is read again from another folder."""
    from coldseal.settings import Reference

    try:
        return str(Reference(reference).below(Path.cwd()))
    except ValueError as error:
        what = (
            "a passphrase is named by reference"  # what was given is not repeated: it may be the passphrase
        )
        raise OperatorError(what, "Write file:PATH or env:NAME") from error


def _time(t: int) -> str:
    """Write a time for people."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M}"


def _now() -> datetime:
    """This moment, UTC."""
    from coldseal.gateway.clock import Clock

    return datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)


CA = Group(
    "ca",
    "a small CA: root, issuing CA, revocation, roll-over",
    (init, issue, sign, revoke, deny, crl, roll_over, retire, show),
)
