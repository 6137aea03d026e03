"""False certifications of the chip's counter: each function adds some and gives the first bad entry."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from tests.core.statements import statement
from tests.page.builder import Story, new_record

if TYPE_CHECKING:
    from coldseal.signing.keys import EcdsaSigner


def certify(
    story: Story, at: int, value: int, *, key: EcdsaSigner | None = None, text: bytes | None = None
) -> int:
    """Have the chip certify a value over one of the checkpoints; gives the last entry that this covers."""
    found = parse_note(story.notes[at]).text
    size = parse_checkpoint_text(found).size
    attest = statement(value, sha256(text or found).digest())
    story.extra[f"counter/{size}.attest"] = attest
    story.extra[f"counter/{size}.sig"] = (key or story.first_checkpoint.ecdsa).sign(attest)
    return size - 1


def rising(story: Story) -> None:
    """Certify as a chip does: a new key after the roll-over, of another chip, begins anew."""
    certify(story, 0, 2**60)
    certify(story, 1, 2**60 + 1)
    certify(story, 3, 2**60 + 5)
    certify(story, -1, 2, key=story.checkpoint.ecdsa)


def falling(story: Story) -> int:
    """The counter of one chip goes down."""
    certify(story, 0, 9)
    certify(story, 1, 10)
    return certify(story, 2, 8)


def repeated(story: Story) -> int:
    """The counter of one chip stands still."""
    certify(story, 0, 9)
    return certify(story, 1, 9)


def of_another_checkpoint(story: Story) -> int:
    """What the chip certified is the checkpoint of another history."""
    return certify(story, 1, 9, text=b"another\n7\nAAAA\n")


def by_another_key(story: Story) -> int:
    """Somebody signed it with a key that is none of the log's."""
    return certify(story, 1, 9, key=new_record())


def by_the_former_key(story: Story) -> int:
    """The chip's former key signed it, behind the roll-over."""
    return certify(story, -1, 9)


def without_its_checkpoint(story: Story) -> int:
    """It is for a checkpoint that is not there."""
    seq = certify(story, 1, 9)
    del story.notes[1]
    return seq


def without_its_signature(story: Story) -> int:
    """Only the statement is there."""
    seq = certify(story, 1, 9)
    del story.extra[f"counter/{seq + 1}.sig"]
    return seq


def no_statement(story: Story) -> int:
    """What the key signed is nothing that a chip says."""
    seq = certify(story, 1, 9)
    attest = b"\xffTCG and so on"
    story.extra[f"counter/{seq + 1}.attest"] = attest
    story.extra[f"counter/{seq + 1}.sig"] = story.first_checkpoint.ecdsa.sign(attest)
    return seq


CASES = {
    "counter falls": falling,
    "counter repeats": repeated,
    "counter certified over another checkpoint": of_another_checkpoint,
    "counter certified by another key": by_another_key,
    "counter certified by the key before": by_the_former_key,
    "counter certified over no checkpoint": without_its_checkpoint,
    "counter without its signature": without_its_signature,
    "counter that no chip states": no_statement,
}
