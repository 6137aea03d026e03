"""Answers for people and for scripts: aligned lines, or one JSON object.

Standard library only. What is printed here is for reading; evidence is encoded by
`coldseal.core.log.canonical`.
"""

import json
import sys
from collections.abc import Mapping

_KIB = 1_024


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON object; what JSON does not know is written as text."""
    text = json.dumps(value, indent=2, default=str, ensure_ascii=False)  # noqa: TID251 # for scripts, not evidence
    sys.stdout.write(f"{text}\n")


def print_facts(facts: Mapping[str, object]) -> None:
    """Print aligned ``name  value`` lines."""
    width = max((len(name) for name in facts), default=0)
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in facts.items())


def print_lines(*lines: str) -> None:
    """Print lines."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def render_bytes(count: float) -> str:
    """Render a number of bytes for a person, in binary units."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} TiB"


def render_span(seconds: float) -> str:
    """Render a span of time for a person, in its largest fitting unit."""
    for limit, divisor, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def render_duration(seconds: int) -> str:
    """Render a figure in seconds for a person so that nothing of it is lost, such as ``1 d 8 h 25 min``."""
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
