"""Turns a noun's functions into a command line: with cyclopts, else with argparse.

Both read the same signatures and docstrings and accept the same arguments; cyclopts gives the finer
help. A verb marked as `program` is always read by argparse: its process lives for months and should not
keep 2.5 MB of a parser, or a tenth of a second counts in it. A wrong usage becomes an OperatorError. Knows
no noun by name.
"""

import argparse
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence

from coldseal.errors import OperatorError

Command = Callable[..., int]


class Group(typing.NamedTuple):
    """Verbs behind a word of their own, such as ``coldseal identity ca``."""

    name: str
    summary: str
    commands: tuple[Command, ...]


_PROGRAMS: typing.Final[set[Command]] = set()


def program(command: Command) -> Command:
    """Mark a verb that runs until it is stopped, or whose time from start to end is measured."""
    _PROGRAMS.add(command)
    return command


def run_commands(
    noun: str, summary: str, members: Sequence[Command | Group], arguments: Sequence[str]
) -> int:
    """Parse the arguments behind a noun and call the function that they name.

    Args:
        noun: the noun, such as ``gateway``.
        summary: what the noun is about.
        members: its verbs, and groups of them; one named like the noun is called where no verb is given.
        arguments: what stands behind the noun.

    Returns:
        The exit code.

    Raises:
        OperatorError: no verb takes these arguments.
    """
    groups = [each for each in members if isinstance(each, Group)]
    for group in groups:
        if group.name in arguments[:1]:
            return run_commands(f"{noun} {group.name}", group.summary, group.commands, arguments[1:])
    commands = [each for each in members if not isinstance(each, Group)]
    if _is_program(commands, arguments):
        return _run_with_argparse(noun, summary, commands, groups, arguments)
    try:
        import cyclopts
    except ModuleNotFoundError:
        return _run_with_argparse(noun, summary, commands, groups, arguments)
    app = cyclopts.App(
        name=f"coldseal {noun}",
        help=summary,
        version_flags=(),
        suppress_keyboard_interrupt=False,
        help_formatter="default" if sys.stdout.isatty() else "plain",
        default_parameter=cyclopts.Parameter(negative=(), name_transform=_option),
    )
    for command in commands:
        if command.__name__ == noun:
            app.default(command)
        else:
            app.command(command)
    for group in groups:
        app.command(cyclopts.App(name=group.name, help=group.summary))
    try:
        answer = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        verb = [each for each in arguments[:1] if each in {_option(command.__name__) for command in commands}]
        hint = f"See: coldseal {' '.join([noun, *verb])} --help"
        raise OperatorError(str(error).strip().rstrip("."), hint) from error
    return answer if isinstance(answer, int) else 0  # --help answers with nothing


def _is_program(commands: Sequence[Command], arguments: Sequence[str]) -> bool:
    """Whether a program is to run; its help is an answer like others."""
    verbs = {_option(command.__name__) for command in commands if command in _PROGRAMS}
    return bool(verbs.intersection(arguments[:1])) and not {"--help", "-h"}.intersection(arguments)


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises instead of ending the process."""

    def error(self, message: str) -> typing.NoReturn:  # type: ignore[explicit-override] # 3.11 has none
        """Raise the message."""
        raise OperatorError(message, f"See: {self.prog} --help")


def _run_with_argparse(
    noun: str,
    summary: str,
    commands: Sequence[Command],
    groups: Sequence[Group],
    arguments: Sequence[str],
) -> int:
    """Do the same with the standard library."""
    parser = _Parser(prog=f"coldseal {noun}", description=summary)
    verbs = None
    for command in commands:
        if command.__name__ == noun:
            _add_parameters(parser, command)
            continue
        verbs = verbs or parser.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)
        name = _option(command.__name__)
        about = inspect.getdoc(command) or ""
        raw = argparse.RawDescriptionHelpFormatter
        verb = verbs.add_parser(
            name, help=about.partition("\n")[0], description=about, formatter_class=raw, allow_abbrev=False
        )
        _add_parameters(verb, command)
    for group in groups:
        verbs = verbs or parser.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)
        verbs.add_parser(group.name, help=group.summary)
    try:
        values = vars(parser.parse_args(arguments))
    except SystemExit as end:  # --help was asked for
        return int(end.code or 0)
    return _call(values.pop("command"), values)


def _add_parameters(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add a function's parameters: keyword-only ones are options."""
    parser.set_defaults(command=command)
    kinds = typing.get_type_hints(command)
    for name, parameter in inspect.signature(command).parameters.items():
        kind, is_many = _element(kinds[name])
        is_required = parameter.default is parameter.empty
        options: dict[str, typing.Any] = {} if is_required else {"default": parameter.default}
        if parameter.kind is not parameter.KEYWORD_ONLY:
            nargs = "+" if is_many and is_required else "*" if is_many else None if is_required else "?"
            parser.add_argument(name, metavar=name.upper(), type=kind, nargs=nargs, **options)
        elif kind is bool:
            parser.add_argument(f"--{_option(name)}", dest=name, action="store_true")
        else:
            options |= {"action": "append" if is_many else "store", "required": is_required}
            parser.add_argument(f"--{_option(name)}", dest=name, type=kind, **options)


def _element(kind: object) -> tuple[typing.Any, bool]:
    """Give the type of one value, and whether there may be several."""
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if typing.get_origin(kind) in {list, tuple}:
        return typing.get_args(kind)[0], True
    return kind, False


def _call(command: Command, values: dict[str, typing.Any]) -> int:
    """Call the function with what was parsed."""
    parameters = inspect.signature(command).parameters
    named = [name for name in values if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY]
    options = {name: values.pop(name) for name in named}
    return command(*values.values(), **options)


def _option(name: str) -> str:
    """Name the option or verb of a Python name: ``as_json`` is ``--json``, ``set_`` is ``--set``."""
    return name.removeprefix("as_").rstrip("_").replace("_", "-")
