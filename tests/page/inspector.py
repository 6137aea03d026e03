"""What an inspector does with the page, and what he sees: chooses a bundle, waits, reads the verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from coldseal.page import SOURCES, source
from tests.page.chromium import Tab

_SETTLED = """
new Promise((resolve) => {
  const look = () => {
    if (["done", "failed"].includes(document.body.dataset.state)) resolve(true);
  };
  new MutationObserver(look).observe(document.body, { attributes: true });
  look();
})
"""
_SEEN = """
JSON.stringify({
  state: document.body.dataset.state,
  verdict: document.getElementById("verdict").dataset.verdict ?? "",
  seq: Number(document.getElementById("verdict").dataset.seq),
  millis: Number(document.getElementById("verdict").dataset.millis),
  banner: document.getElementById("verdict").textContent,
  marks: [...document.querySelectorAll("#checks > li")].map(({ dataset }) => [dataset.check, dataset.mark]),
  faults: [...document.querySelectorAll(".faults li")].map(({ dataset }) => [dataset.verdict, +dataset.seq]),
  curves: [...document.querySelectorAll("figure")].map(({ dataset }) => ({ ...dataset })),
  text: document.querySelector("main").textContent,
  refused: document.getElementById("refused").textContent,
  violations: globalThis.violations,
})
"""


@dataclass(frozen=True)
class Seen:
    """What stands on the page."""

    state: str
    verdict: str
    seq: int
    millis: int
    banner: str
    marks: list[list[str]]
    faults: list[list[str | int]]
    curves: list[dict[str, str]]
    text: str
    refused: str
    violations: list[str]

    @property
    def failing(self) -> list[str]:
        """The checks that fail."""
        return [check for check, mark in self.marks if mark == "fail"]


async def settled(tab: Tab) -> Seen:
    """Wait for the verdict and read the page."""
    await tab.run(_SETTLED)
    return Seen(**json.loads(cast("str", await tab.run(_SEEN))))


async def inspect(tab: Tab, verifier: Path, bundle: bytes) -> Seen:
    """Open the page and choose a bundle."""
    path = verifier.with_name("bundle.coldseal")
    path.write_bytes(bundle)
    await tab.open(verifier)
    await tab.choose("#file", path)
    return await settled(tab)


async def load_parts(tab: Tab, verifier: Path) -> None:
    """Make the page's own functions reachable, all but those that draw it."""
    await tab.open(verifier)
    await tab.run("\n".join(source(name) for name in SOURCES if name not in {"curve.js", "view.js"}))
