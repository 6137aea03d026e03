"""The shape gate: small modules, short functions, honest exceptions, one word for each thing.

Reads source files and reports; changes nothing. What ruff, mypy and import-linter already
hold is not repeated here.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("coldseal", "tests", "tools", "bench")
MAIN_PATH = ("coldseal/gateway/pipeline.py", "coldseal/service/ingest.py")
MAIN_PATH_LINES = 199
MODULE_LINES = 400
TEST_LINES = 500  # claims are many and short
FUNCTION_LINES = 60
REASON_WORDS = 2

#: Names that say where code was put, not what it is.
SHAPELESS = frozenset({"util", "utils", "helper", "helpers", "common", "base", "manager"})

#: Words that have a better one in this project's vocabulary (CONTRIBUTING.md) and no second meaning.
BANNED_WORDS = {
    "telemetry": "reading",
    "datapoint": "reading",
    "breach": "excursion",
    "incident": "deviation",
    "blockchain": "log",
    "synced": "published",
    "onboard": "enrol",
}

_DIRECTIVE = re.compile(r"#\s*(?:type:\s*ignore(?:\[[^\]]*\])?|noqa(?::[\w\s,]*\w)?|pragma:\s*no\s+\w+)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One departure from the shape: where it is and what would be right."""

    path: str
    line: int
    text: str

    def render(self) -> str:
        """Return the finding as an editor understands it."""
        return f"{self.path}:{self.line}: {self.text}"


def check_tree(root: Path) -> list[Finding]:
    """Return every finding below the project's folders, in order of place."""
    paths = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    return sorted(
        finding
        for path in paths
        for finding in check_source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    )


def check_source(path: str, source: str) -> Iterator[Finding]:
    """Yield the findings of one module; ``path`` is relative to the project's root."""
    tree = ast.parse(source, filename=path)
    yield from _name(path)
    yield from _length(path, source)
    yield from _functions(path, tree)
    yield from _suppressions(path, source)
    if path.startswith("coldseal/"):
        yield from _vocabulary(path, tree)


def _name(path: str) -> Iterator[Finding]:
    """A file or folder is named after what it holds."""
    for part in Path(path).with_suffix("").parts:
        shapeless = SHAPELESS.intersection(part.split("_"))
        if shapeless:
            yield Finding(path, 1, f"the name says {min(shapeless)!r}, not what the module holds")


def _length(path: str, source: str) -> Iterator[Finding]:
    """A module is read at one sitting; the two main-path files at one glance."""
    lines = len(source.splitlines())
    limit = (
        MAIN_PATH_LINES if path in MAIN_PATH else TEST_LINES if path.startswith("tests/") else MODULE_LINES
    )
    if lines > limit:
        yield Finding(path, lines, f"{lines} lines, at most {limit}")


def _functions(path: str, tree: ast.Module) -> Iterator[Finding]:
    """A function fits a screen, its docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield Finding(path, node.lineno, f"{node.name}() has {lines} lines, at most {FUNCTION_LINES}")


def _suppressions(path: str, source: str) -> Iterator[Finding]:
    """A rule switched off says why on the same line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or not _DIRECTIVE.search(token.string):
            continue
        reason = _DIRECTIVE.sub("", token.string)
        if len(re.findall(r"\w+", reason)) < REASON_WORDS:
            yield Finding(path, token.start[0], f"{token.string!r} gives no reason on its line")


def _vocabulary(path: str, tree: ast.Module) -> Iterator[Finding]:
    """Each thing has one word; only names that this project gives are looked at."""
    for line, name in _given_names(path, tree):
        for word in _WORD.findall(name):
            better = BANNED_WORDS.get(word.lower()) or BANNED_WORDS.get(word.lower().removesuffix("s"))
            if better:
                yield Finding(path, line, f"{name!r} says {word.lower()!r}; our word is {better!r}")


def _given_names(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that the module itself introduces, with its line."""
    yield 1, Path(path).stem
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case (
                ast.arg(arg=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield node.lineno, name
            case _:
                pass


def report(findings: Iterable[Finding]) -> int:
    """Print the findings and return the exit status: 0 none, 1 some."""
    shown = [finding.render() for finding in findings]
    for line in shown:
        print(line)
    print(f"shape: {len(shown)} to mend" if shown else "shape: kept")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(report(check_tree(Path(__file__).parent.parent)))
