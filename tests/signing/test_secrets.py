"""Claims about secrets: they come from where they are named, and only if nobody else can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.signing.private_files import make_private_folder, read_private_file, write_private_file
from coldseal.signing.secrets import generate_symmetric_key, read_secret, read_symmetric_key


def private(path: Path, content: bytes = b"open sesame\n", mode: int = 0o600) -> Path:
    """Make a file of a given mode."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_file_reference_is_read_below_the_base_and_stripped(tmp_path: Path) -> None:
    """A relative path counts from the configuration's folder; the line feed is not part of a secret."""
    private(tmp_path / "pass")
    assert read_secret("file:pass", tmp_path) == b"open sesame"
    assert read_secret(f"file:{tmp_path / 'pass'}", Path("/elsewhere")) == b"open sesame"


def test_an_environment_reference_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service manager may hand a secret over in the environment."""
    monkeypatch.setenv("COLDSEAL_PASS", " open sesame\n")
    assert read_secret("env:COLDSEAL_PASS", tmp_path) == b"open sesame"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_or_empty_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    """An empty secret is no secret."""
    monkeypatch.delenv("COLDSEAL_PASS", raising=False)
    if value is not None:
        monkeypatch.setenv("COLDSEAL_PASS", value)
    with pytest.raises(OperatorError, match="COLDSEAL_PASS"):
        read_secret("env:COLDSEAL_PASS", tmp_path)


@pytest.mark.parametrize("reference", ["hunter2", "vault:hunter2", "file:", "env:", ""])
def test_an_unknown_reference_is_refused_without_being_shown(tmp_path: Path, reference: str) -> None:
    """Someone may have written the secret itself there: the message must not carry it into a log."""
    with pytest.raises(OperatorError, match="file:PATH or env:NAME") as caught:
        read_secret(reference, tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o610, 0o777])
def test_a_file_that_others_may_open_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    """Any bit for group or others is one too many."""
    path = private(tmp_path / "key", mode=mode)
    with pytest.raises(OperatorError, match=f"mode {mode:04o}") as caught:
        read_private_file(path)
    assert caught.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_the_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    """Stricter than 0600 is good too."""
    assert read_private_file(private(tmp_path / "key", mode=mode)) == b"open sesame\n"


def test_what_is_not_a_plain_file_is_refused(tmp_path: Path) -> None:
    """A directory, or a pipe on which the start would hang for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (tmp_path, pipe):
        with pytest.raises(OperatorError, match="not a plain file"):
            read_private_file(path)


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A full disk leaves such files behind."""
    with pytest.raises(OperatorError, match="is empty"):
        read_private_file(private(tmp_path / "key", content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The operator sees which one."""
    with pytest.raises(OperatorError, match=r"absent cannot be read: No such file"):
        read_private_file(tmp_path / "absent")


def test_a_symmetric_key_comes_back_as_it_was_made(tmp_path: Path) -> None:
    """64 hex digits in the file, 32 bytes in the program, and never the same twice."""
    written = generate_symmetric_key()
    write_private_file(tmp_path / "store.key", written)
    key = read_symmetric_key("file:store.key", tmp_path)
    assert len(key) == 32
    assert key.hex().encode() == written.strip()
    assert written != generate_symmetric_key()


@pytest.mark.parametrize("text", [b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64, b"correct horse"])
def test_a_symmetric_key_of_another_form_is_refused_without_being_shown(tmp_path: Path, text: bytes) -> None:
    """A shortened key must not be padded, and a broken one not be printed."""
    private(tmp_path / "store.key", text)
    with pytest.raises(OperatorError, match="32 bytes in hex") as caught:
        read_symmetric_key("file:store.key", tmp_path)
    assert text.decode("latin-1") not in str(caught.value)


def test_a_new_file_is_private_whole_and_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask says, and no draft is left beside it."""
    before = os.umask(0)
    try:
        write_private_file(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    """A key that is gone cannot be made again."""
    write_private_file(tmp_path / "key", b"first")
    with pytest.raises(OperatorError, match="exists already"):
        write_private_file(tmp_path / "key", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"first"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The cure is the operator's: we make no directories for keys."""
    with pytest.raises(OperatorError, match=r"cannot be written: No such file"):
        write_private_file(tmp_path / "absent" / "key", b"secret")


def test_a_credential_of_systemd_is_read_though_its_mode_shows_an_access_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only in the folder that was given to this program, only root's own, only with that mode."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a credential is root's")
    given = tmp_path / "given"
    given.mkdir()
    path = private(given / "store.key", mode=0o440)
    with pytest.raises(OperatorError, match="mode 0440"):
        read_private_file(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert read_private_file(path) == b"open sesame\n"

    for mode in (0o444, 0o460):
        with pytest.raises(OperatorError, match=f"mode 0{mode:o}"):
            read_private_file(private(path, mode=mode))
    with pytest.raises(OperatorError, match="mode 0440"):
        read_private_file(private(tmp_path / "other", mode=0o440))
    os.chown(private(path, mode=0o440), 65_534, 0)
    with pytest.raises(OperatorError, match="mode 0440"):
        read_private_file(path)


def test_a_private_folder_has_no_open_one_above_it(tmp_path: Path) -> None:
    """Each that was missing is closed; one that was there is left as it is."""
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    for _ in range(2):
        make_private_folder(there / "data" / "attestation" / "references")
    made = ["data", "data/attestation", "data/attestation/references"]
    assert [stat.S_IMODE((there / each).stat().st_mode) for each in made] == [0o700] * 3
    assert stat.S_IMODE(there.stat().st_mode) == 0o755


def test_a_file_in_the_place_of_a_private_folder_is_told(tmp_path: Path) -> None:
    """Nothing is put in its stead."""
    (tmp_path / "data").write_text("x")
    with pytest.raises(FileExistsError):
        make_private_folder(tmp_path / "data")
