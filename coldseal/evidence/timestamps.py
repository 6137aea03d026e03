"""Holds a bundle's timestamps against its checkpoints; the rules of a timestamp itself are in `core.log`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from coldseal.core.log import der
from coldseal.core.log.evidence import Fault, Verdict
from coldseal.core.log.timestamp import BadTimestampError, parse_roots, verify_timestamp
from coldseal.errors import InputError
from coldseal.evidence.files import TIMESTAMP_CA, TIMESTAMPS
from coldseal.evidence.reader import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.x509 import Certificate

    from coldseal.core.log.evidence import Case
    from coldseal.evidence.reader import Bundle

_SUFFIX: Final = ".tsr"


def check_timestamps(
    bundle: Bundle, case: Case, roots: tuple[Certificate, ...]
) -> tuple[int, int, list[Fault]]:
    """Verify each timestamp over the text of the checkpoint that it is for.

    Returns:
        How many hold, how many cannot be tested for want of roots, and what is wrong.
    """
    names = sorted(name for name in bundle.sums if name.startswith(TIMESTAMPS) and name.endswith(_SUFFIX))
    faults: list[Fault] = []
    archive = Archive(bundle.path)
    try:
        if not roots and TIMESTAMP_CA in bundle.sums:
            roots = parse_roots(archive.read(TIMESTAMP_CA))
        for name in names:
            faults += _check_timestamp(case, name, archive.read(name), roots)
    except InputError as error:
        return 0, len(names), [Fault(Verdict.TIMESTAMP, 0, f"{TIMESTAMP_CA}: {error}")]
    finally:
        archive.close()
    good = len(names) - len(faults)
    return (good, 0, faults) if roots else (0, good, faults)


def _check_timestamp(
    case: Case, name: str, response: bytes, roots: tuple[Certificate, ...]
) -> Iterator[Fault]:
    """Verify one timestamp, without roots only what it is for; gives a fault if it does not hold."""
    size = int(name.removeprefix(TIMESTAMPS).removesuffix(_SUFFIX))
    opened = case.opened.get(size)
    if opened is None:
        detail = f"{name} is for a checkpoint that is not here, or not good"
        yield Fault(Verdict.TIMESTAMP, size - 1, detail)
        return
    text = opened.checkpoint.text()
    try:
        if roots:
            verify_timestamp(response, text, roots)
        else:
            require_stamped(response, text)
    except (InputError, BadTimestampError) as error:
        yield Fault(Verdict.TIMESTAMP, size - 1, str(error))


def require_stamped(response: bytes, text: bytes) -> None:
    """Check which text was stamped; who says so is not verified.

    Raises:
        InputError: it is no granted timestamp.
        BadTimestampError: it is for another text.
    """
    try:
        _, token = _parts(_parts(response)[0])  # RFC 3161 2.4.2: status, token
        signed = _parts(_parts(_parts(token)[1])[0])  # RFC 5652 5.1: version, hashes, content, ...
        info = _parts(_parts(_parts(_parts(signed[2])[1])[0])[0])  # version, policy, imprint, ...
        found = _parts(info[2])[1]
    except (IndexError, ValueError) as error:
        raise InputError("timestamp", "token", len(response), "a granted timestamp") from error
    if found != hashlib.sha256(text).digest():
        raise BadTimestampError("it is for another text")


def _parts(data: bytes) -> list[bytes]:
    """Give what is in each of the values that stand one behind the other."""
    return [each.content for each in der.split("timestamp", data)]
