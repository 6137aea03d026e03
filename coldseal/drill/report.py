"""A drill's report for the validation file: Markdown, and the same as one HTML page.

Made from what the log's entry says and from nothing else, so that whoever has the entry can hold the report
against it. Carries no script and loads nothing.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from coldseal.drill.course import Record

_HEADS: Final = ("check", "found", "expected", "")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35em .6em;"
    "border-bottom:1px solid #d0d7de}.good{color:#116329}.bad{color:#a40e26}"
)


def write_report(folder: Path, origin: str, record: Record) -> list[Path]:
    """Write both forms into a folder, which is made; names carry the drill and its entry.

    Raises:
        OSError: they cannot be written.
    """
    make_private_folder(folder)
    stem = f"{record.sealed.seq:012d}-{record.data['drill']}"
    paths = [folder / f"{stem}.md", folder / f"{stem}.html"]
    for path, text in zip(paths, (markdown(origin, record), html(origin, record)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def markdown(origin: str, record: Record) -> str:
    """Render a record as Markdown."""
    facts = "".join(f"- **{name}**: {value}\n" for name, value in _facts(origin, record))
    rows = [_HEADS, ("---",) * len(_HEADS), *_rows(record.data["checks"])]
    table = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
    return f"# Drill: {record.data['drill']}\n\n{facts}\n{table}\nVerdict: **{record.data['verdict']}**\n"


def html(origin: str, record: Record) -> str:
    """Render a record as a page."""
    verdict, name = record.data["verdict"], escape(str(record.data["drill"]))
    facts = "".join(
        f"<tr><th>{escape(head)}</th><td>{escape(value)}</td></tr>" for head, value in _facts(origin, record)
    )
    head = "".join(f"<th>{escape(each)}</th>" for each in _HEADS)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in _rows(record.data["checks"])
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Drill: {name}</title><style>{_STYLE}</style></head><body>"
        f'<h1>Drill: {name}</h1><p class="{verdict}">Verdict: <strong>{verdict}</strong></p>'
        f"<table>{facts}</table><h2>Checks</h2><table><tr>{head}</tr>{rows}</table></body></html>\n"
    )


def _facts(origin: str, record: Record) -> Iterator[tuple[str, str]]:
    """Give what stands above the checks."""
    data, sealed = record.data, record.sealed
    yield "log", origin
    yield "held by", str(data["who"])
    yield "for", str(data["why"])
    yield "began", str(data["began"])
    yield "ended", str(data["ended"])
    yield "software", str(data["software"])
    yield "entry", f"{sealed.seq}, leaf hash {sealed.leaf}"


def _rows(checks: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Give a row for each check."""
    for each in checks:
        yield each["check"], each["found"], each["expected"], "ok" if each["ok"] else "NOT OK"
