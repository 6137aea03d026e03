"""The verbs of `coldseal gateway` that put something on record: a correction, a file from elsewhere.

The running gateway seals it; without one, the command does. Nothing that is on record is changed.
"""

import hashlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_facts, print_json
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value

_READ_BYTES: Final = 1 << 20


def correct(
    config: Path,
    seq: int,
    /,
    *,
    reason: str,
    who: str,
    value: str = "{}",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """State what is right where an entry is not; the entry stays as it is.

    Args:
        config: gateway.toml.
        seq: the entry's place.
        reason: why it is corrected.
        who: who says so.
        value: what is right, as a JSON object without fractions, such as '{"v":"4.71"}'.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.records import is_open_to_me, leaf_to_correct, open_reader, seal_record

    settings = load_gateway(config, set_ or ())
    said: dict[str, Value] = {"reason": reason, "seq": seq, "value": _object(value), "who": who}
    if is_open_to_me(settings):
        with closing(open_reader(settings)) as reader:
            said["leaf"] = leaf_to_correct(reader, seq)
    sealed = seal_record(settings, "correction", said)
    return _say({**sealed._asdict(), "corrects": seq}, as_json=as_json)


def import_(
    config: Path,
    file: Path,
    /,
    *,
    who: str,
    why: str,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Put a file from elsewhere on record by its name, size and SHA-256; keep the file itself.

    Args:
        config: gateway.toml.
        file: such as a calibration certificate or a logger's download.
        who: who brings it.
        why: what it is for.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.log.canonical import encode_base64
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.records import seal_record

    settings = load_gateway(config, set_ or ())
    digest, size = hash_file(file)
    about = {"name": file.name, "sha256": encode_base64(digest)}
    sealed = seal_record(settings, "import", {"bytes": size, **about, "who": who, "why": why})
    return _say({**sealed._asdict(), "sha256": digest.hex(), "bytes": size}, as_json=as_json)


def hash_file(path: Path) -> tuple[bytes, int]:
    """Give the SHA-256 and the size of a file.

    Raises:
        OperatorError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}", "Name a file that is there"
        ) from error
    return digest.digest(), size


def _object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise OperatorError(f"--value is no JSON object: {error}", 'Such as \'{"v":"4.71"}\'') from error


def _say(facts: dict[str, object], *, as_json: bool) -> int:
    """Answer what was put on record."""
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
    return 0
