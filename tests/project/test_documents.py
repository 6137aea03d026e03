"""Claims about the documents: links lead somewhere, commands run, nothing is forgotten."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence import parts
from tests.project.tree import ROOT, Block, blocks, documents
from tools import index

ADR = sorted((ROOT / "docs" / "adr").glob("*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SHELL = {"sh", "bash", "console", "shell"}


def identify(path: Path) -> str:
    """Name a document in the test's id."""
    return path.relative_to(ROOT).as_posix()


def make_bundle(path: Path) -> None:
    """Write the bundle that the documents speak of: a genesis and readings, more than fill one tile."""
    parts.make_bundle(path, parts.seal_log(300))


def headings(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", documents(), ids=identify)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    """Links inside the project resolve; a link to the outside is not followed."""
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{identify(document)}: {link}"
        assert not anchor or anchor in headings(target), f"{identify(document)}: {link}"


@pytest.mark.parametrize("document", documents(), ids=identify)
def test_every_shell_block_says_how_it_is_tested(document: Path) -> None:
    """A command that nobody runs will be wrong one day."""
    for block in blocks(document):
        if block.language in SHELL:
            assert block.mark in {"run", "make"}, f"{identify(document)}: {block.text}"


@pytest.mark.parametrize(
    "block",
    [block for document in documents() for block in blocks(document) if block.mark == "make"],
    ids=lambda block: block.text.split("\n")[0],
)
def test_every_make_command_shown_is_a_task(block: Block) -> None:
    """What takes too long to run here is at least known to make."""
    for line in block.text.splitlines():
        assert line.startswith("make "), line
        subprocess.run(
            ["make", "--dry-run", "VENV=.venv-absent", line.split()[1]],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize(
    "document",
    [path for path in documents() if any(block.mark == "run" for block in blocks(path))],
    ids=identify,
)
def test_the_commands_of_a_document_run_in_order(document: Path, tmp_path: Path) -> None:
    """A reader who copies the blocks one after the other gets through, in a folder with a bundle."""
    make_bundle(tmp_path / "demo.coldseal")
    script = "\n".join(block.text for block in blocks(document) if block.mark == "run")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("record", ADR, ids=identify)
def test_a_decision_record_is_short_and_whole(record: Path) -> None:
    """Context, options, outcome, a status, at most 80 lines, and the number of its file in its title."""
    text = record.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert text.startswith(f"# {record.name[:4]}. ")
    for part in ("\nStatus: ", "\nDate: ", "\n## Context\n", "\n## Options\n", "\n## Outcome\n"):
        assert part in text, part


def test_a_number_names_one_decision_record() -> None:
    """Two records with one number could not be told apart in a text."""
    numbers = [path.name[:4] for path in ADR]
    assert len(set(numbers)) == len(numbers)


def test_the_index_lists_what_is_there() -> None:
    """Every specification and every decision, by its own title; `make docs` writes the lists."""
    text = index.INDEX.read_text(encoding="utf-8")
    assert index.with_lists(text, index.DOCS) == text


def test_an_index_without_its_markers_is_refused(tmp_path: Path) -> None:
    """Nothing is written where nobody would find it."""
    with pytest.raises(ValueError, match="no markers for specifications"):
        index.with_lists("# Documents\n", tmp_path)


def test_a_document_without_a_title_is_refused(tmp_path: Path) -> None:
    """A list of nothing would be shown otherwise."""
    (tmp_path / "page.md").write_text("text\n", encoding="utf-8")
    with pytest.raises(ValueError, match="does not begin with a title"):
        index.title(tmp_path / "page.md")


def test_every_document_can_be_found() -> None:
    """Each document below docs/ is linked from the index, or from another document."""
    linked = {
        (document.parent / link.partition("#")[0]).resolve()
        for document in documents()
        for link in LINK.findall(document.read_text(encoding="utf-8"))
    }
    orphans = {path for path in documents() if ROOT / "docs" in path.parents} - linked
    assert [identify(path) for path in sorted(orphans)] == []


def test_every_requirement_has_its_line() -> None:
    """A1 to A23 and B1 to B17, each once, each with a test, a command, or "not yet"."""
    text = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    lines = dict(re.findall(r"^\| ([AB]\d+) \| (?:[^|]+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert list(lines) == [f"A{n}" for n in range(1, 24)] + [f"B{n}" for n in range(1, 18)]
    for name, shown in lines.items():
        assert "`" in shown or "not yet" in shown, name


def test_every_test_that_a_requirement_names_exists() -> None:
    """A line that points at nothing shows nothing."""
    text = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    for path in sorted(set(re.findall(r"`(tests/[^`]*)`", text))):
        assert (ROOT / path).exists(), path


def test_the_architecture_names_every_layer_and_no_line() -> None:
    """A line number is wrong after the next change; a layer without its row is a hole in the map."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert not re.search(r"\.py:\d|\bline \d", text)
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    here = {path.stem for path in (ROOT / "coldseal").iterdir() if path.name[0] != "_"} - {"py"}
    assert named == here
