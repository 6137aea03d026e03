"""`coldseal schema`: hold versions of schemas against each other, show one as JSON Schema, try a payload.

A schema is named by a file, TOML or published JSON Schema, or as NAME/VERSION where it is the project's own.
Nothing here needs a gateway.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.coldchain.compatibility import Mode, Verdict
    from coldseal.core.coldchain.schema import Schema
    from coldseal.gateway.sources.decode import Decoded

AGAINST: Final = 1


def check(old: str, new: str, /, *, mode: str = "backward", as_json: bool = False) -> int:
    """Hold a new version of a schema against an old one, by every rule; exit code 1 where it breaks one.

    backward: each payload of the old version is one of the new version, and means the same. Ask for it
    before gateways learn a version that devices do not send yet.
    forward: a gateway that knows the old version takes each payload of the new one, flagged schema-newer.
    Ask for it before devices send a version that gateways do not know yet.
    full: both.

    Args:
        old: file of the old version, or NAME/VERSION of the project's own.
        new: file of the new version.
        mode: backward, forward or full.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.compatibility import ASKED, RULES, Mode, compare

    if mode not in set(Mode):
        raise OperatorError(f"--mode is {mode!r}", f"Give one of: {', '.join(Mode)}")
    asked = Mode(mode)
    verdict = compare(_schema(old), _schema(new))
    is_good = verdict.is_compatible(asked)
    if as_json:
        rules = {
            direction.value: {rule: not verdict.of(rule, direction) for rule in RULES}
            for direction in ASKED[asked]
        }
        faults = [each._asdict() for each in verdict.faults if each.direction in ASKED[asked]]
        print_json(
            {
                "old": verdict.old,
                "new": verdict.new,
                "mode": mode,
                "compatible": is_good,
                "rules": rules,
                "faults": faults,
            }
        )
        return 0 if is_good else AGAINST
    _render(verdict, asked)
    return 0 if is_good else AGAINST


def _render(verdict: "Verdict", mode: "Mode") -> None:
    """Print a verdict for each rule."""
    from coldseal.core.coldchain.compatibility import ASKED, RULES

    width = max(map(len, RULES))
    for direction in ASKED[mode]:
        print_lines(f"{direction.value}, from {verdict.old} to {verdict.new}:")
        for rule, demand in RULES.items():
            faults = verdict.of(rule, direction)
            print_lines(f"  {'BROKEN' if faults else 'ok    '}  {rule:<{width}}  {demand}")
            print_lines(*(f"          {each.place or 'payload'}: {each.what}" for each in faults))
    is_good = verdict.is_compatible(mode)
    print_lines(f"{verdict.new} is {'' if is_good else 'not '}{mode.value} compatible with {verdict.old}")


def show(schema: str, /, *, as_json: bool = False) -> int:
    """Print a schema as the JSON Schema (2020-12) that is published to those who make devices.

    Args:
        schema: file of a version, or NAME/VERSION of the project's own.
        as_json: as without it: the answer is JSON.
    """
    from coldseal.core.coldchain.schema import document_of

    del as_json
    print_json(document_of(_schema(schema)))
    return 0


def list_(folder: Path | None = None, /, *, as_json: bool = False) -> int:
    """Name the schemas that are known: the project's own, and those of a folder; all of it is checked.

    Args:
        folder: schemas.directory of a gateway.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.schemas import read_folder, read_published

    found = [*read_published(), *(read_folder(folder) if folder is not None else ())]
    if as_json:
        print_json({"schemas": [{"schema": str(each), "title": each.title} for each in found]})
    else:
        print_facts({str(each): each.title or "no title" for each in found})
    return 0


def try_(schema: str, payload: Path, /, *, as_json: bool = False) -> int:
    """Read a payload by a schema, as the gateway would; exit code 1 where it would be rejected.

    Args:
        schema: file of a version, or NAME/VERSION of the project's own.
        payload: file with the bytes as a device publishes them.
        as_json: answer with one JSON object.
    """
    from coldseal.errors import InputError

    try:
        content = payload.read_bytes()
    except OSError as error:
        raise OperatorError(f"{payload}: {error.strerror}", "Name a file that is there") from error
    try:
        decoded = _decode(_schema(schema), content)
    except InputError as error:
        if as_json:
            print_json({"taken": False, "reason": str(error)})
        else:
            print_lines(f"rejected: {error}")
        return AGAINST
    facts: dict[str, Any] = {"seq": decoded.seq, "time": decoded.taken_at}
    if as_json:
        print_json({"taken": True, "quantities": [each[:3] for each in decoded.quantities], **facts})
    else:
        print_facts({each.name: f"{each.value} {each.unit}" for each in decoded.quantities})
        print_facts({name: value for name, value in facts.items() if value})
    return 0


def _decode(schema: "Schema", content: bytes) -> "Decoded":
    """Read a payload by one schema alone."""
    from coldseal.core.coldchain.schema import RESERVED
    from coldseal.gateway.schemas import Book

    topic = "coldseal/v1/site/device/reading/sensor"
    site = () if schema.name in RESERVED else (schema,)
    return Book(site, {topic: str(schema)}).decode(topic, content, 0)


def _schema(named: str) -> "Schema":
    """Read a schema by its file, or by its name where it is the project's own."""
    from coldseal.gateway.schemas import PUBLISHED, read_schema

    own = PUBLISHED / f"{named.replace('/', '-')}.json"
    path = Path(named)
    is_own = not path.exists() and own.parent == PUBLISHED and own.exists()
    return read_schema(own if is_own else path)


COMMANDS: Final = (check, show, list_, try_)
