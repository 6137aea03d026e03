"""Forms in which an entry goes to other systems: as in the design article, and as a CloudEvent.

Promise: the signed bytes are in both, byte for byte, so that whoever gets one can check signature and leaf
hash. A list of one form is a JSON array of what each would be alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.canonical import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldseal.core.log.record import Entry
    from coldseal.core.routing.rules import Subject

JSON: Final = "application/json"
CLOUD_EVENT: Final = "application/cloudevents+json"
CLOUD_EVENTS: Final = "application/cloudevents-batch+json"
"""Media types of what is posted."""

_encode: Final = msgspec.json.Encoder().encode


def encode_article(entry: Entry) -> bytes:
    """Give `{"seq", "canonical", "sig", "ts"}`.

    ``canonical`` is the signed body as text, ``sig`` its signature, DER in base64, or null where a checkpoint
    seals instead, ``ts`` the entry's time.
    """
    signature = None if entry.sig is None else encode_base64(entry.sig)
    said = {"seq": entry.seq, "canonical": entry.body.decode(), "sig": signature, "ts": entry.t}
    return _encode(said)


def encode_cloud_event(entry: Entry, subject: Subject) -> bytes:
    """Give a CloudEvent 1.0 in structured mode; ``data`` is the entry as it was sealed.

    ``source`` and ``id`` together are the entry's key.
    """
    said: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id(entry),
        "source": entry.log,
        "type": f"coldseal.{entry.kind}.v{entry.v}",
        "time": entry.t,
    }
    about = "/".join(filter(None, (subject.asset or subject.device, subject.sensor)))
    if about:
        said["subject"] = about
    said |= {"datacontenttype": JSON, "data": msgspec.Raw(entry.raw)}
    return _encode(said)


def event_id(entry: Entry) -> str:
    """Give what stands beside the log's origin in an entry's key."""
    return f"{entry.seq}:{entry.leaf_hash.hex()}"


def join(parts: Iterable[bytes]) -> bytes:
    """Make a JSON array."""
    return b"[" + b",".join(parts) + b"]"
