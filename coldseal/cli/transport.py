"""``coldseal identity key request`` and ``coldseal identity ca sign``: a certificate for a key in a TPM.

The one runs beside the chip, the other beside the CA; a file goes between them, which holds no secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.output import print_facts, print_json
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from cryptography import x509

    from coldseal.identity.peer import Role
    from coldseal.signing.uris import TpmUri


def place_of(uri: str, tcti: str) -> TpmUri:
    """Take the place of a transport key in a TPM.

    Raises:
        OperatorError: it is none.
    """
    from coldseal.signing.uris import KERNEL, TpmUri, complete, parse_transport

    found = parse_transport(complete(uri, tcti=tcti or KERNEL, module=None))
    if not isinstance(found, TpmUri):
        raise OperatorError(f"{uri} is no transport key in a TPM", "Write tpm:key=FILE")
    return found


def request(
    uri: str,
    output: Path,
    /,
    *,
    role: str,
    name: str,
    hosts: list[str] | None = None,
    tcti: str = "",
    as_json: bool = False,
) -> int:
    """Write a certificate request (PKCS#10, PEM) that the TPM signs with a transport key of its own.

    For `coldseal identity ca sign`, or for the CA of somebody else.

    Args:
        uri: the key, as tpm:key=FILE; `coldseal identity key make … --transport` makes it.
        output: file to write.
        role: what its holder is: gateway or device.
        name: the holder's name.
        hosts: a name or address that it is reached by, beside loopback; may be given several times.
        tcti: the way to the TPM.
        as_json: answer with one JSON object.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from coldseal.identity.est import make_request
    from coldseal.signing.holders import open_transport
    from coldseal.signing.private_files import write_private_file

    key = open_transport(place_of(uri, tcti))
    made = make_request(key, role_of(role), name, tuple(hosts or ()))
    write_private_file(output, made.public_bytes(Encoding.PEM))
    (print_json if as_json else print_facts)({"request": str(output), "role": role, "name": name})
    return 0


def sign(
    folder: Path,
    file: Path,
    role: str,
    name: str,
    /,
    *,
    hosts: list[str] | None = None,
    days: float | None = None,
    output: Path | None = None,
    as_json: bool = False,
) -> int:
    """Issue a certificate for a key that its holder made, below ROLE/NAME in the CA's folder.

    The request must be signed by its key, and ask for nothing but what is said here.

    Args:
        folder: of the CA.
        file: the request, PKCS#10, PEM.
        role: device, gateway, service or operator.
        name: the holder's name.
        hosts: a name or address it is reached by, beside loopback; may be given several times.
        days: its life; without it, what [days] in ca.toml says.
        output: another file for the certificate, as for a holder that has one already.
        as_json: answer with one JSON object.
    """
    from coldseal.identity.authority import open_authority
    from coldseal.identity.authority_folder import encode_pem, make_folder
    from coldseal.identity.est import asked_of, require_strong
    from coldseal.signing.private_files import write_private_file

    asked_by = _read(file)
    asked, granted = asked_of(asked_by), tuple(hosts or ())
    if (asked.role, asked.name) != (role, name) or set(asked.hosts) - set(granted):
        shown = f"{asked.role} {asked.name} {' '.join(asked.hosts)}".strip()
        raise OperatorError(f"{file} asks for {shown}", "Name that role, name and hosts, or refuse it")
    authority = open_authority(folder)
    path = output or folder / role / f"{name}.pem"
    if path.exists():
        raise OperatorError(f"{path} exists already", "Move it away, if it is no longer needed")
    make_folder(path.parent)
    public = require_strong(asked_by.public_key(), str(file))
    leaf = authority.certify(public, role_of(role), name, now=_now(), days=days, hosts=granted)
    write_private_file(path, encode_pem(authority.chain(leaf)))
    end = leaf.not_valid_after_utc.isoformat()
    (print_json if as_json else print_facts)({"certificate": str(path), "not_after": end})
    return 0


def _read(path: Path) -> x509.CertificateSigningRequest:
    """Read a request, and check it as the enrolment server does.

    Raises:
        OperatorError: the file cannot be read, or holds none.
        InputError: it is not signed by its own key, or that is weak.
    """
    from cryptography import x509

    from coldseal.identity.est import encode_request, parse_request

    try:
        found = x509.load_pem_x509_csr(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{path} cannot be read as a request", "Name a certificate request, PEM"
        ) from error
    return parse_request(encode_request(found))


def role_of(text: str) -> Role:
    """Read a role.

    Raises:
        OperatorError: it is none.
    """
    from coldseal.identity.peer import ROLES

    for role in ROLES:
        if role == text:
            return role
    raise OperatorError(f"{text!r} is no role", f"Choose one of: {', '.join(ROLES)}")


def _now() -> datetime:
    """This moment, UTC."""
    from coldseal.gateway.clock import Clock

    return datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)
