"""Only admitted logs are taken, and what an operator writes takes effect without a restart, or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import msgspec
import pytest

from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.errors import OperatorError
from coldseal.service.admission import Admission, encode_log_file, parse_log_file
from tests.sealed import GATEWAY, ORIGIN, SealedLog, log_keys, new_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of descriptions."""
    path = tmp_path / "logs"
    path.mkdir()
    return path


def described(**changes: object) -> bytes:
    """Give a description with some fields changed; None takes one out."""
    fields = msgspec.json.decode(encode_log_file(SealedLog().admitted)) | changes
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def test_a_description_comes_back_as_it_was_written() -> None:
    """Keys, names and site."""
    log = SealedLog().admitted

    assert parse_log_file(encode_log_file(log), where="file") == log
    assert parse_log_file(encode_log_file(log, mode="checkpoint"), where="file") == log
    assert b'"mode"' not in encode_log_file(log)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "truncated"),
        (b"[]", "object"),
        (described(origin=None), "origin"),
        (described(origin=7), "origin"),
        (described(extra=1), "extra"),
        (described(record_key="!"), "record_key"),
        (described(record_key="AAAA"), "public key"),
        (described(checkpoint_keys=["nonsense"]), "verifier key"),
        (described(checkpoint_keys=[]), "checkpoint_keys"),
        (described(origin="a b"), "a b"),
        (described(mode="other"), "mode"),
    ],
)
def test_a_wrong_description_is_an_operator_s_matter(data: bytes, named: str) -> None:
    """The error names file and fault, and what to do."""
    with pytest.raises(OperatorError, match=named) as caught:
        parse_log_file(data, where="logs/a.json")

    assert "logs/a.json" in caught.value.what
    assert "gateway init" in caught.value.hint


def test_all_descriptions_of_the_folder_are_admitted(folder: Path) -> None:
    """By origin, and by gateway."""
    other = SealedLog(origin=f"{ORIGIN}/2", keys=new_keys())
    (folder / "b.json").write_bytes(encode_log_file(SealedLog().admitted))
    (folder / "a.json").write_bytes(encode_log_file(other.admitted))
    (folder / "notes.txt").write_text("not a description")

    admission = Admission(folder)

    assert len(admission) == 2
    assert [log.origin for log in admission.all()] == [ORIGIN, f"{ORIGIN}/2"]
    assert admission.find(ORIGIN) == SealedLog().admitted
    assert admission.find("other") is None
    assert len(admission.of_gateway(GATEWAY)) == 2
    assert admission.of_gateway("gw-9") == []


def test_a_missing_folder_is_made_and_empty(tmp_path: Path) -> None:
    """A new service has admitted nothing."""
    assert len(Admission(tmp_path / "new" / "logs")) == 0


def test_a_file_that_cannot_be_read_stops_the_start(folder: Path) -> None:
    """Better no service than one that forgot a gateway."""
    (folder / "a.json").write_bytes(b"{")

    with pytest.raises(OperatorError):
        Admission(folder)


def test_two_descriptions_of_one_log_stop_the_start(folder: Path) -> None:
    """Nobody could say which keys count."""
    for name in ("a.json", "b.json"):
        (folder / name).write_bytes(described())

    with pytest.raises(OperatorError, match="another file"):
        Admission(folder)


def test_a_folder_in_place_of_a_file_stops_the_start(folder: Path) -> None:
    """What the system refuses is passed on."""
    (folder / "a.json").mkdir()

    with pytest.raises(OperatorError, match="directory"):
        Admission(folder)


def test_a_new_file_is_admitted_while_running(folder: Path, lines: io.StringIO) -> None:
    """And told, once."""
    admission = Admission(folder)
    (folder / "a.json").write_bytes(described())

    admission.refresh()
    admission.refresh()

    assert admission.find(ORIGIN) is not None
    assert lines.getvalue().count("ingest.admitted") == 1


def test_a_removed_file_ends_the_admission(folder: Path) -> None:
    """From the next look on."""
    (folder / "a.json").write_bytes(described())
    admission = Admission(folder)
    (folder / "a.json").unlink()

    admission.refresh()

    assert admission.find(ORIGIN) is None


def test_a_changed_file_is_read_again(folder: Path) -> None:
    """Even when it has the same length."""
    path = folder / "a.json"
    path.write_bytes(described(site="site-7"))
    admission = Admission(folder)
    path.write_bytes(described(site="site-8"))
    os.utime(path, ns=(1, 1))

    admission.refresh()

    found = admission.find(ORIGIN)
    assert isinstance(found, AdmittedLog)
    assert found.site == "site-8"


def test_a_wrong_change_leaves_what_was_admitted(folder: Path, lines: io.StringIO) -> None:
    """It is told once, and mended by the next change."""
    path = folder / "a.json"
    path.write_bytes(described())
    admission = Admission(folder)
    path.write_bytes(b"{}")

    admission.refresh()
    admission.refresh()

    found = admission.find(ORIGIN)
    assert found is not None
    assert found.record_key == log_keys().record.spki
    assert lines.getvalue().count("ingest.admission-failed") == 1
