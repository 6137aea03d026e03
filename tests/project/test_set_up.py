"""Claims about set-up: what is missing is installed or named, and a second Python is really one."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tools import other_python, system_parts

CURRENT = "{}.{}".format(*sys.version_info[:2])


def program(folder: Path, name: str, script: str) -> Path:
    """Put a small shell program into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def part(folder: Path, name: str, package: str = "") -> system_parts.Part:
    """Return a part that is here once its file lies in the folder."""
    return system_parts.Part(name, "a test", package or name, (folder / name).exists)


def test_parts_that_are_here_are_not_missing(tmp_path: Path) -> None:
    """Only what is absent is listed, in the order asked for."""
    (tmp_path / "here").touch()
    names = [each.name for each in system_parts.missing([part(tmp_path, n) for n in ("b", "here", "a")])]
    assert names == ["b", "a"]


def test_the_command_names_each_package_once(tmp_path: Path) -> None:
    """A person can copy the line as it is."""
    parts = [part(tmp_path, "x", "two"), part(tmp_path, "y", "one"), part(tmp_path, "z", "two")]
    assert system_parts.command(parts) == "sudo apt-get install --yes one two"


def test_services_are_off_while_packages_are_installed(tmp_path: Path) -> None:
    """Debian asks the policy before it starts a service; ours says no, and goes away afterwards."""
    policy = tmp_path / "policy-rc.d"
    with system_parts.services_off(policy):
        assert "exit 101" in policy.read_text(encoding="utf-8")
        assert policy.stat().st_mode & stat.S_IXUSR
    assert not policy.exists()


def test_a_policy_that_was_there_stays_as_it_was(tmp_path: Path) -> None:
    """The machine's owner decided already."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs", encoding="utf-8")
    with system_parts.services_off(policy):
        assert policy.read_text(encoding="utf-8") == "theirs"
    assert policy.read_text(encoding="utf-8") == "theirs"


def test_install_updates_the_lists_and_takes_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package manager is asked twice, unattended, with services off; the broker is disabled after."""
    log, policy = tmp_path / "log", tmp_path / "policy-rc.d"
    program(tmp_path / "bin", "apt-get", f'echo "$DEBIAN_FRONTEND $*" >> {log}; test -x {policy}')
    program(tmp_path / "bin", "update-rc.d", f'echo "update-rc.d $*" >> {log}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    system_parts.install([part(tmp_path, "mosquitto")], policy=policy)
    assert log.read_text(encoding="utf-8").splitlines() == [
        "noninteractive --quiet --yes update",
        "noninteractive --quiet --yes install --no-install-recommends mosquitto",
        "update-rc.d mosquitto disable",
    ]


@pytest.mark.parametrize(
    ("group", "ci", "status"), [("test", "", 0), ("test", "true", 1), ("venv", "", 1), ("venv", "true", 1)]
)
def test_a_missing_part_never_passes_ci(
    group: str,
    ci: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A person may go on without the test parts; CI may not, and nobody without an environment."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_parts.main([group], {group: [part(tmp_path, "absent-program")]}) == status
    assert "sudo apt-get install --yes absent-program" in capsys.readouterr().err


def test_all_present_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run is quiet."""
    (tmp_path / "here").touch()
    assert system_parts.main(["test"], {"test": [part(tmp_path, "here")]}) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["test", "unknown"]])
def test_an_unknown_group_is_a_usage_error(arguments: list[str]) -> None:
    """A typo in the Makefile must not pass for nothing to do."""
    assert system_parts.main(arguments) == 2


def test_this_interpreter_is_the_version_it_says() -> None:
    """The probe starts the interpreter and asks it."""
    assert other_python.is_version(Path(sys.executable), CURRENT)
    assert not other_python.is_version(Path(sys.executable), "3.99")


def test_a_shim_that_does_not_start_is_no_interpreter(tmp_path: Path) -> None:
    """A version manager's shim may lie on the PATH without a version behind it."""
    assert not other_python.is_version(program(tmp_path, "python3.13", "exit 127"), "3.13")
    assert not other_python.is_version(tmp_path / "absent", "3.13")


def test_the_second_python_is_never_the_first(tmp_path: Path) -> None:
    """The running version is passed over even when it is all there is."""
    program(tmp_path, "python3.13", "echo 3.13")
    assert other_python.find("3.13", {"PATH": str(tmp_path), "HOME": str(tmp_path)}) is None


def test_the_path_comes_before_the_version_manager(tmp_path: Path) -> None:
    """What the person put on the PATH is taken first."""
    on_path = program(tmp_path / "bin", "python3.13", "echo 3.13")
    program(tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin", "python", "echo 3.13")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    assert other_python.find("3.11", environment) == on_path


@pytest.mark.parametrize("variable", ["HOME", "PYENV_ROOT"])
def test_a_version_manager_is_looked_through(variable: str, tmp_path: Path) -> None:
    """A dead shim on the PATH does not hide the real interpreter behind it."""
    program(tmp_path / "bin", "python3.13", "exit 127")
    root = tmp_path / ".pyenv" if variable == "HOME" else tmp_path / "elsewhere"
    real = program(root / "versions" / "3.13.0" / "bin", "python", "echo 3.13")
    environment = {"PATH": str(tmp_path / "bin"), variable: str(tmp_path if variable == "HOME" else root)}
    assert other_python.find("3.11", environment) == real


def test_no_second_python_is_said_by_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed that make could take for a path."""
    assert other_python.main({"PATH": str(tmp_path), "HOME": str(tmp_path)}) == 1
    assert capsys.readouterr().out == ""
