"""False checkpoints: each function changes those of an honest story and gives the first bad entry."""

from __future__ import annotations

from dataclasses import replace

from coldseal.core.log.checkpoint import Checkpoint, Note, NoteSignature
from coldseal.core.log.signature import _ORDER, _encode, _parse
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.page.builder import ORIGIN, WITNESSES, Story, with_lines


def wrong_root(story: Story) -> int:
    """The newest checkpoint, signed by everyone, is over other entries."""
    story.notes.pop()
    story.note(root=bytes(32))
    return len(story.entries) - 1


def forked(story: Story) -> int:
    """A second checkpoint of one size, with another root, signed by everyone."""
    story.note(root=bytes(32))
    return len(story.entries) - 1


def extension_line(story: Story) -> int:
    """The newest checkpoint says more than three lines."""
    text = Checkpoint(ORIGIN, story.chain.size, story.chain.tree.root()).text()
    story.notes.pop()
    story.note(text=text + b"more\n")
    return 0


def leading_zero(story: Story) -> int:
    """The newest checkpoint writes its size with a zero in front."""
    text = Checkpoint(ORIGIN, story.chain.size, story.chain.tree.root()).text()
    story.notes.pop()
    story.note(text=text.replace(b"\n", b"\n0", 1))
    return 0


def bad_base64(story: Story) -> int:
    """A signature's base64 has stray bits at its end."""
    head, _, tail = story.notes[-1].decode().rpartition("=\n")
    story.notes[-1] = f"{head[:-1]}{chr(ord(head[-1]) + 1)}={tail}\n".encode()
    return 0


def seventeen_signatures(story: Story) -> int:
    """More lines than a note may have, all of them well-formed."""
    lines = tuple(NoteSignature(f"stranger{n}.example", bytes([n] * 4), bytes(64)) for n in range(13))
    story.notes[-1] = with_lines(
        story.notes[-1], lambda note: replace(note, signatures=note.signatures + lines)
    )
    return 0


def unknown_key(story: Story) -> int:
    """A further line under the log's own name, by a key of which nobody was told."""
    other = Ed25519Signer(generate_interop_key())

    def add(note: Note) -> Note:
        return replace(note, signatures=(*note.signatures, other.note_signature(ORIGIN, note.text)))

    story.notes[-1] = with_lines(story.notes[-1], add)
    return len(story.entries) - 1


def unknown_witness(story: Story) -> int:
    """A witness's name over another one's key."""
    other = Ed25519Signer(generate_interop_key())

    def exchange(note: Note) -> Note:
        line = other.cosign(WITNESSES[0], note.text, story.anchors[-1][1])
        return replace(note, signatures=(*note.signatures[:2], line, note.signatures[3]))

    story.notes[-1] = with_lines(story.notes[-1], exchange)
    return len(story.entries) - 1


def one_key_only(story: Story) -> int:
    """The newest checkpoint lacks the signature of one of the log's two keys."""
    story.notes[-1] = with_lines(story.notes[-1], lambda note: replace(note, signatures=note.signatures[1:]))
    return len(story.entries) - 1


def old_checkpoint_keys(story: Story) -> int:
    """A checkpoint signed with the keys that were rolled over."""
    story.read("ramp", "5.00")
    story.note(keys=story.first_checkpoint)
    return len(story.entries) - 1


def high_s_checkpoint(story: Story) -> int:
    """The same on a checkpoint."""

    def exchange(note: Note) -> Note:
        first = note.signatures[0]
        return replace(
            note, signatures=(replace(first, signature=twin(first.signature)), *note.signatures[1:])
        )

    story.notes[-1] = with_lines(story.notes[-1], exchange)
    return len(story.entries) - 1


def missing_witness(story: Story) -> int:
    """The second witness has signed nothing."""
    story.notes = [
        with_lines(note, lambda n: replace(n, signatures=n.signatures[:3])) for note in story.notes
    ]
    return 0


def twin(signature: bytes) -> bytes:
    """Give the signature with the higher s."""
    r, s = _parse(signature)
    return _encode(r, _ORDER - s)
