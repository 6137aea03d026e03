"""`coldseal identity`: a development CA, certificates, password files.

For trials and tests; a production CA and enrolment stand elsewhere. A key is never overwritten.
"""

import getpass
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from coldseal.cli.authority import CA
from coldseal.cli.enrol import enrol, keep, renew_now
from coldseal.cli.hardware import KEY
from coldseal.cli.keys import revoke_key, roll_over
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError


def dev_ca(
    folder: Path,
    /,
    *,
    devices: str = "1",
    gateway: str = "gw-0001",
    service: str = "localhost",
    hosts: list[str] | None = None,
    days: int = 7,
    as_json: bool = False,
) -> int:
    """Make a folder with a CA and the certificates of a gateway, a service and some devices.

    Args:
        folder: where; must not hold a CA yet.
        devices: how many devices (sensor-01, sensor-02 …), or their names, separated by commas.
        gateway: name of the gateway.
        service: name of the service.
        hosts: a further name or address of gateway and service; may be given several times.
        days: life of the certificates; the CA lives a year.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import TRUST, create_authority
    from coldseal.identity.peer import require_name

    names = _device_names(devices)
    for name in (gateway, service, *names):
        require_name("certificate", name)
    now = _now()
    authority = create_authority(folder, now=now)
    also = tuple(hosts or ())
    made = [
        authority.issue("gateway", gateway, now=now, days=days, hosts=also),
        authority.issue("service", service, now=now, days=days, hosts=also),
        *(authority.issue("device", name, now=now, days=days) for name in names),
    ]
    facts = {
        "trust": str(folder / TRUST),
        "gateway": str(made[0]),
        "service": str(made[1]),
        "devices": [str(path) for path in made[2:]],
    }
    if as_json:
        print_json(facts)
        return 0
    shown = f"{folder / 'device'}/ ({len(names)}: {names[0]}" + (f" … {names[-1]})" if names[1:] else ")")
    print_facts({**facts, "devices": shown})
    print_lines(
        "", f"Certificates live {days} days; `coldseal identity renew {folder}` gives them a new life."
    )
    print_lines("This CA is for trials: its keys are plain files.")
    return 0


def device(folder: Path, names: list[str], /, *, days: int = 7, as_json: bool = False) -> int:
    """Issue certificates for more devices.

    Args:
        folder: folder of the CA.
        names: names of the devices.
        days: life of the certificates.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    authority = open_authority(folder)
    made = [str(authority.issue("device", name, now=_now(), days=days)) for name in names]
    if as_json:
        print_json({"certificates": made})
    else:
        print_lines(*made)
    return 0


def renew(folder: Path, /, *, days: int = 7, as_json: bool = False) -> int:
    """Give all certificates of a CA's folder, and its revocation list, a new life; keys stay.

    Args:
        folder: folder of the CA.
        days: life of the certificates.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority
    from coldseal.identity.peer import ROLES

    authority, now = open_authority(folder), _now()
    paths = sorted(path for role in ROLES for path in (folder / role).glob("*.pem"))
    for path in paths:
        authority.renew(path, now=now, days=days)
    authority.revoke((), now=now)
    if as_json:
        print_json({"certificates": [str(path) for path in paths]})
    else:
        print_lines(f"renewed {len(paths)} certificates for {days} days")
    return 0


def revoke(folder: Path, certificates: list[Path], /, *, as_json: bool = False) -> int:
    """Put certificates on the revocation list; programs that name it in `crl` refuse them from then on.

    Args:
        folder: folder of the CA.
        certificates: the certificates' files.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority

    crl = open_authority(folder).revoke(certificates, now=_now())
    if as_json:
        print_json({"crl": str(crl), "revoked": [str(path) for path in certificates]})
    else:
        print_lines(f"revoked {len(certificates)} in {crl}")
    return 0


def show(certificates: list[Path], /, *, as_json: bool = False) -> int:
    """Show whose certificates these are; the exit code is 1 when one of them has expired.

    Args:
        certificates: PEM files.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.peer import read_peer

    now = _now()
    rows: list[dict[str, object]] = []
    for path in certificates:
        peer = read_peer(path)
        left = peer.not_after - now
        rows.append(
            {
                "file": str(path),
                "role": peer.role,
                "name": peer.name,
                "fingerprint": peer.fingerprint,
                "not_after": peer.not_after.isoformat(),
                "days_left": math.floor(left / timedelta(days=1)),
                "expired": left <= timedelta(),
            }
        )
    if as_json:
        print_json({"certificates": rows})
    else:
        for row in rows:
            print_facts(row)
            print_lines("")
    return 1 if any(row["expired"] for row in rows) else 0


def password(file: Path, name: str, /) -> int:
    """Set a device's password in a password file; it is asked for, or read from standard input.

    Args:
        file: the password file, made when it is missing.
        name: name of the device.
    """
    from coldseal.identity.passwords import set_password

    if sys.stdin.isatty():
        given = getpass.getpass(f"Password of {name}: ")
        if given != getpass.getpass("Again: "):
            raise OperatorError("the two passwords differ", "Try again; nothing was changed")
    else:
        given = sys.stdin.readline().rstrip("\n")
    set_password(file, name, given)
    print_lines(f"{name} has a password in {file}")
    return 0


def _device_names(devices: str) -> list[str]:
    """Read a number of devices, or their names."""
    if devices.isdecimal():
        count = int(devices)
        width = max(2, len(devices))
        names = [f"sensor-{number:0{width}d}" for number in range(1, count + 1)]
    else:
        names = [name.strip() for name in devices.split(",")]
    if not names:
        raise OperatorError("--devices is 0", "Give how many devices, or their names: --devices 24")
    return names


def _now() -> datetime:
    """This moment, UTC."""
    from coldseal.gateway.clock import Clock

    return datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)


_CERTIFICATES = (dev_ca, device, renew, revoke, show, password, enrol, renew_now, keep)
COMMANDS = (*_CERTIFICATES, roll_over, revoke_key, CA, KEY)
