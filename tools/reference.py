"""Make the reference pages from what they describe: settings, events, metrics, and the command line.

Each page is rendered from the one place that declares its subject, so it cannot say anything else.
``python -m tools.reference`` writes them; a test holds what is written against what is declared.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType

import msgspec
from msgspec import inspect as kinds

from coldseal.cli.commands import Group
from coldseal.cli.main import NOUNS, run
from coldseal.gateway import config as gateway_config
from coldseal.gateway import tables as gateway_tables
from coldseal.observe import events, metrics
from coldseal.service import config as service_config

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
_MADE = "<!-- Made by `make docs` from the source; change the source. -->\n"
_CONFIGURATION = """\
Both programs read one TOML file, once, at the start. An unknown key is an error that names the nearest known
one. Relative paths are relative to the file. Secrets are references: `file:PATH` (mode 0600) or `env:NAME`.
`--set table.key=value` overrides a setting for one run. A setting whose default is `empty` is switched off
by `""`.

Listeners bind to loopback unless you set another address. Without TLS nothing leaves the machine: a plain
listener on another address is refused.
"""
_EVENTS = """\
Both programs write one JSON object a line to stderr (readable lines on a terminal): `time` (UTC), `level`,
`part`, `event`, and the event's own fields. Names are stable. No secret is written: a value that looks like
one is replaced by `(hidden)`. `critical` wakes a person.
"""
_METRICS = """\
`GET /metrics` on the address `http.listen`, in the Prometheus text format. A counter ends in `_total`; a
histogram has `_bucket`, `_sum` and `_count`.
"""


def pages() -> Mapping[str, str]:
    """Return every page by the name of its file."""
    return {
        "configuration.md": configuration(),
        "events.md": event_list(),
        "metrics.md": metric_list(),
        "command-line.md": command_line(),
    }


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Render a table; a bar inside a cell is escaped."""
    lines = [list(heads)]
    lines.append(["---"] * len(lines[0]))
    lines.extend([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def configuration() -> str:
    """Render the settings of both programs."""
    parts = [
        f"{_MADE}\n# Configuration\n",
        _CONFIGURATION,
    ]
    for name, module, root in (
        ("gateway.toml", gateway_tables, gateway_config.GatewayConfig),
        ("service.toml", service_config, service_config.ServiceConfig),
    ):
        parts.append(f"## `{name}`\n")
        parts.extend(_tables(module, root))
    return "\n".join(parts)


def _tables(module: ModuleType, root: type[msgspec.Struct]) -> Iterator[str]:
    """Render each table of one configuration file."""
    meanings = _meanings(module)
    for field in _struct(kinds.type_info(root)).fields:
        yield from _table(meanings, field.encode_name, field.type)


def _table(meanings: Mapping[str, str], name: str, kind: kinds.Type) -> Iterator[str]:
    """Render one table, then the tables and arrays of tables within it."""
    many = isinstance(kind, kinds.VarTupleType)
    struct = _struct(kind.item_type if isinstance(kind, kinds.VarTupleType) else kind)
    yield f"### `{'[[' if many else '['}{name}{']]' if many else ']'}`\n"
    yield f"{inspect.getdoc(struct.cls)}\n"
    yield table(
        ("key", "value", "default", "meaning"),
        (
            (
                f"`{each.encode_name}`",
                _kind(each.type),
                _default(each),
                meanings[f"{struct.cls.__name__}.{each.name}"],
            )
            for each in struct.fields
            if not isinstance(each.type, kinds.StructType)
        ),
    )
    for each in struct.fields:
        inner = each.type.item_type if isinstance(each.type, kinds.VarTupleType) else each.type
        if isinstance(inner, kinds.StructType):
            yield from _table(meanings, f"{name}.{each.encode_name}", each.type)


def _struct(kind: kinds.Type) -> kinds.StructType:
    """Return the struct that a table is; a configuration has nothing else at its top."""
    if not isinstance(kind, kinds.StructType):
        raise TypeError(kind)
    return kind


def _meanings(module: ModuleType) -> dict[str, str]:
    """Return the string below each setting, by class and name."""
    found: dict[str, str] = {}
    for node in _classes(module):
        for field, text in zip(node.body, node.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(meaning))
                ):
                    found[f"{node.name}.{name}"] = inspect.cleandoc(meaning)
                case _:
                    pass
    return found


def _classes(module: ModuleType) -> Iterator[ast.ClassDef]:
    """Give the classes of a module, or of all modules of a package."""
    names = [
        each.name for each in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
    ]
    for each in (module, *map(importlib.import_module, names)):
        yield from (
            node for node in ast.parse(inspect.getsource(each)).body if isinstance(node, ast.ClassDef)
        )


def _kind(kind: kinds.Type) -> str:
    """Say what a value is, with its range."""
    match kind:
        case kinds.UnionType(types=types):
            return " or ".join(_kind(each) for each in types if not isinstance(each, kinds.NoneType))
        case kinds.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case kinds.VarTupleType(item_type=item) | kinds.DictType(value_type=item):
            whole = "table" if isinstance(kind, kinds.DictType) else "list"
            return f"{whole} of {'tables' if isinstance(item, kinds.StructType) else _kind(item)}"
        case kinds.IntType() | kinds.FloatType():
            return _number(kind)
        case kinds.CustomType(cls=cls):
            return _CUSTOM[cls.__name__]
        case _:
            return "text"


_CUSTOM = {
    "Address": "`host:port`",
    "Reference": "reference",
    "KeyPlace": "path or `tpm:key=FILE`",
    "Path": "path",
}


def _number(kind: kinds.IntType | kinds.FloatType) -> str:
    """Say the range of a number."""
    noun = "integer" if isinstance(kind, kinds.IntType) else "number"
    if kind.ge is not None and kind.le is not None:
        return f"{noun}, {kind.ge:_} to {kind.le:_}"
    if kind.ge is not None:
        return f"{noun}, from {kind.ge:_}"
    return f"{noun}, above {kind.gt:_}" if kind.gt is not None else noun


def _default(field: kinds.Field) -> str:
    """Say what holds when the key is absent, as TOML has it."""
    match field.default:
        case _ if field.required or field.default_factory is dict:
            return "required" if field.required else "`{}`"
        case None:
            return "`empty`"
        case bool(value):
            return f"`{str(value).lower()}`"
        case int(value) | float(value):
            return f"`{value:_}`"
        case tuple(values):
            return f"`[{', '.join(f'{value!r}' for value in values)}]`".replace("'", '"')
        case value:
            return f'`"{value}"`'


def event_list() -> str:
    """Render the catalogue of log events."""
    rows = (
        (f"`{each.name}`", each.level, ", ".join(f"`{name}`" for name in each.fields), each.meaning)
        for each in events.CATALOGUE
    )
    return f"{_MADE}\n# Log events\n\n{_EVENTS}\n{table(('name', 'level', 'fields', 'meaning'), rows)}"


def metric_list() -> str:
    """Render the metrics of both programs."""
    parts = [
        f"{_MADE}\n# Metrics\n",
        _METRICS,
    ]
    for title, catalogue in (
        ("Gateway", metrics.GatewayMetrics().catalogue),
        ("Service", metrics.ServiceMetrics().catalogue),
    ):
        parts += [f"## {title}\n", table(("metric", "kind", "label", "meaning"), map(_metric, catalogue))]
    return "\n".join(parts)


def _metric(metric: metrics.Metric) -> tuple[str, ...]:
    """Render one metric as its row."""
    name = f"{metric.name}_total" if metric.kind == "counter" else metric.name
    values = f": {', '.join(metric.values)}" if metric.values else ""
    return f"`{name}`", metric.kind, f"`{metric.label}`{values}" if metric.label else "", metric.meaning


def verbs(noun: str) -> dict[tuple[str, ...], Callable[..., int]]:
    """Return a noun's commands by the arguments under which they are called."""
    commands = importlib.import_module(f"coldseal.cli.{noun}").COMMANDS
    found: dict[tuple[str, ...], Callable[..., int]] = {}
    for each in commands:
        if isinstance(each, Group):
            found |= {(noun, each.name, _verb(command)): command for command in each.commands}
        else:
            found[(noun,) if _verb(each) == noun else (noun, _verb(each))] = each
    return found


def _verb(command: Callable[..., int]) -> str:
    """Return the word under which a command is called."""
    return command.__name__.rstrip("_").replace("_", "-")


def help_text(arguments: Iterable[str]) -> str:
    """Return what a command says of itself; runs it within this process, which is told how wide to write."""
    shown, before = io.StringIO(), os.environ.copy()
    os.environ.update({"COLUMNS": "160", "NO_COLOR": "1"})  # wide, so that a help text keeps its own lines
    try:
        with redirect_stdout(shown), suppress(SystemExit):
            run([*arguments, "--help"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def command_line() -> str:
    """Render the help of every command."""
    parts = [f"{_MADE}\n# Command line\n", f"```text\n{help_text([])}\n```\n"]
    for noun, described in NOUNS.items():
        parts.append(f"## `coldseal {noun}`\n\n{described.summary[0].upper()}{described.summary[1:]}.\n")
        for verb in verbs(noun):
            title = f"### `coldseal {' '.join(verb)}`\n\n" if len(verb) > 1 else ""
            parts.append(f"{title}```text\n{help_text(verb)}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
