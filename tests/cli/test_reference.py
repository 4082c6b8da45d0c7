"""The page of the command line holds what the commands say of themselves."""

import inspect
import typing
from pathlib import Path

from typer.main import get_command

from sagafsm.cli.app import PANELS, app
from sagafsm.cli.exits import MEANINGS
from tests.generated import assert_current

PAGE = Path("docs/reference/command-line.md")


def test_the_page_lists_every_exit_code():
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    assert_current(PAGE, "exit-codes", "\n".join(["| code | meaning |", "|---|---|", *rows]))


def test_the_page_lists_every_verb_and_option():
    commands = get_command(app).commands  # type: ignore[attr-defined]
    parts = []
    for panel, verbs in PANELS.items():
        parts.append(f"### {panel}")
        parts += [describe(commands[verb.__name__.replace("_", "-")], verb) for verb in verbs]
    assert_current(PAGE, "verbs", "\n\n".join(parts))


def describe(command, verb):
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join([f"sagafsm {command.name}", *(one.metavar for one in arguments), *map(required, options)])
    text = (
        (inspect.getdoc(verb) or "")
        .replace("Public method", "*Public method")
        .replace("Public function", "*Public function")
    )
    lines = [f"#### {command.name}", "", f"`{usage.strip()}`", "", f"{text.rstrip('.')}.*", ""]
    lines += [f"- `{bare(one.metavar)}`: {one.help}" for one in arguments if one.help]
    lines += [f"- {described(one, verb)}" for one in options if one.name != "help"]
    return "\n".join(lines).strip()


def bare(metavar):
    """Without the brackets that say that it may be left out; not without those of a part of it."""
    return metavar[1:-1] if metavar.startswith("[") else metavar


def required(option):
    return f"{option.opts[0]} {option.metavar}" if option.required else ""


def described(option, verb):
    names = [*option.opts, *option.secondary_opts]
    value = f" {option.metavar}" if option.metavar else "" if option.is_flag else f" {kind(option.name, verb)}"
    default = option.default
    shown = f" Default: {getattr(default, 'value', default)}." if default is not None and not option.is_flag else ""
    shown = f" Default: {option.opts[0]}." if default is True else shown
    return f"{', '.join(f'`{name}{value}`' for name in names)}: {option.help}{shown if not option.required else ''}"


def kind(name, verb):
    if name in {"fail_rate", "format"}:
        return {"fail_rate": "SHARE", "format": "FORMAT"}[name]
    hint = typing.get_type_hints(verb)[name]
    (taken, *_) = (one for one in typing.get_args(hint) or (hint,) if one is not type(None))
    return {int: "N", float: "NUMBER", str: "TEXT"}.get(taken, "VALUE")
