"""Plays many seeds, on one core or on several, and says what was found and how much was done.

A seed that breaks is named with the command that plays it again, and with the last lines of what happened.
The first one that breaks does not end the others.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from coldseal.demo.world.run import Outcome, play
from coldseal.demo.world.sabotage import SABOTAGES, Sabotage
from coldseal.demo.world.stage import open_stage
from coldseal.errors import OperatorError
from coldseal.observe import logs

CHUNK: Final = 25
"""Seeds that a process plays at a time."""

STORY_LINES: Final = 40
"""Lines shown of a run that broke."""

_RANGE: Final = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")

Tell = Callable[[str], None]


class _Nowhere(io.StringIO):
    """Takes what is written, and drops it."""

    @override
    def write(self, text: str) -> int:
        """Drop it."""
        return len(text)


@dataclass
class Score:
    """What many runs came to.

    Attributes:
        runs: how many were played.
        broken: those in which something did not hold.
        counts: how often things happened in all of them.
        virtual_s: how long they took there.
        took_s: how long they took here.
    """

    runs: int = 0
    broken: list[Outcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    took_s: float = 0.0

    def add(self, found: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.counts.update(found.counts)
        self.virtual_s += found.virtual_s
        if found.broken:
            self.broken.append(found)


def parse_seeds(text: str) -> range:
    """Read a seed, or a range of them as ``1-300``.

    Raises:
        OperatorError: it is neither.
    """
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise OperatorError(f"--world is {text!r}", "Give a seed such as 7, or a range such as 1-300")
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def play_seeds(seeds: Sequence[int], tell: Tell, *, workers: int = 1) -> Score:
    """Play seeds one after the other, or side by side, and tell of each that breaks.

    Args:
        seeds: which.
        tell: is told how it goes, now and then.
        workers: processes that play; 0 stands for one for each processor core.
    """
    score, began = Score(), time.monotonic()
    told = began
    for found in _outcomes(seeds, workers or os.cpu_count() or 1):
        score.add(found)
        if found.broken or len(seeds) == 1:
            tell(describe(found, len(found.lines) if len(seeds) == 1 else STORY_LINES))
        now = time.monotonic()
        if now - told > 1:
            told = now
            rate = score.runs / (now - began)
            tell(
                f"{score.runs:,} of {len(seeds):,} seeds, {len(score.broken)} broken, {rate:.0f} each second"
            )
    score.took_s = time.monotonic() - began
    return score


def _outcomes(seeds: Sequence[int], workers: int) -> Iterator[Outcome]:
    """Give what became of each seed, in whatever order."""
    if workers == 1 or len(seeds) <= CHUNK:
        with open_stage() as stage:
            for seed in seeds:
                yield play(stage, seed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=quiet) as pool:
        parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
        for done in as_completed([pool.submit(_play_all, part) for part in parts]):
            yield from done.result()


def _play_all(seeds: Iterable[int]) -> list[Outcome]:
    """Play some seeds in this process."""
    with open_stage() as stage:
        return [_shortened(play(stage, seed)) for seed in seeds]


def _shortened(found: Outcome) -> Outcome:
    """Leave out the story of a run that went well: nobody will read it."""
    if not found.broken:
        found.lines.clear()
    return found


def quiet() -> None:
    """Keep what the programs would log to themselves: thousands of them run here."""
    logs.configure(stream=_Nowhere(), level="critical")


def describe(found: Outcome, lines: int = STORY_LINES) -> str:
    """Say what happened in a run; of one that broke, what did not hold, and how it is played again."""
    story = [*found.lines[-lines:], f"hash {found.digest}"]
    if found.broken:
        story += [f"seed {found.seed} is broken: {found.broken}"]
        story += [f"play it again: coldseal demo --world {found.seed}"]
    return "\n".join(story)


def summarise(score: Score) -> str:
    """Say what many runs came to."""
    counts = score.counts
    shown = {
        "answers to devices": "told",
        "entries sealed": "sealed",
        "starts of the gateway": "gateway-up",
        "troubles": "trouble",
        "processes and machines lost": "struck",
        "batches sent": "batch",
        "batches lost on the way": "lost",
        "starts of the service": "service-up",
    }
    facts = ", ".join(f"{counts[name]:,} {words}" for words, name in shown.items())
    days = score.virtual_s / 86_400
    rate = score.runs / score.took_s if score.took_s else 0.0
    return (
        f"{score.runs:,} runs, {len(score.broken)} broken; {facts}; "
        f"{days:.1f} virtual days in {score.took_s:.1f} s, {rate:.0f} runs each second"
    )


def search(name: str, seeds: Iterable[int], faults: Mapping[str, Sabotage] = SABOTAGES) -> Outcome | None:
    """Give the first run that finds a seeded fault; None if none of them does."""
    sabotage = faults[name]
    with open_stage() as stage:
        found = (play(stage, seed, sabotage=sabotage) for seed in seeds)
        return next((each for each in found if each.broken), None)
