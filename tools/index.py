"""Keep the lists of specifications and decision records in docs/README.md equal to the files.

Only what stands between the markers is written; a title is the document's own first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
INDEX = DOCS / "README.md"


def with_lists(text: str, docs: Path) -> str:
    """Return the index's text with both lists as the folders have them."""
    for name, rows in (("specifications", specifications(docs)), ("decisions", decisions(docs))):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"no markers for {name}")
        text = f"{before}{begin}{_table(rows)}{end}{after}"
    return text


def specifications(docs: Path) -> Iterator[tuple[str, str]]:
    """Yield link and subject of every specification."""
    for path in sorted((docs / "specs").glob("*.md")):
        yield f"[{path.stem}](specs/{path.name})", title(path)


def decisions(docs: Path) -> Iterator[tuple[str, str]]:
    """Yield link and decision of every record but the template."""
    for path in sorted((docs / "adr").glob("*.md")):
        number, _, decision = title(path).partition(". ")
        if int(number):
            yield f"[{number}](adr/{path.name})", decision


def title(path: Path) -> str:
    """Return the first heading of a document."""
    found = re.match(r"# (.+)\n", path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path} does not begin with a title")
    return found[1]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Render two columns."""
    return "| document | says |\n| --- | --- |\n" + "".join(f"| {link} | {text} |\n" for link, text in rows)


def main() -> None:
    """Write the lists."""
    INDEX.write_text(with_lists(INDEX.read_text(encoding="utf-8"), DOCS), encoding="utf-8")


if __name__ == "__main__":
    main()
