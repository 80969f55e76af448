"""Options of the commands of stages: names and numbers have the ranges that they have in campaign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from ncfm.core.layout import RELEASED
from ncfm.core.values import LONGEST_NAME, Name
from ncfm.stages.table import Argument


class _NameType(click.ParamType):
    """The name of a method or of a protocol."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with what it may hold."""
        try:
            return TypeAdapter(Name).validate_python(value)
        except ValidationError:
            allowed = f"small letters, digits and '-', {LONGEST_NAME} at most"
            self.fail(f"{value[:LONGEST_NAME]!r} is no name (allowed: {allowed})", param, ctx)


PATH = click.Path(path_type=Path)
TYPES: dict[str, Any] = {"ipc": click.IntRange(min=1), "seed": click.IntRange(0, 2**63 - 1)}
TYPES |= dict.fromkeys(("method", "protocol"), _NameType())
DEFAULTS: dict[str, Any] = {"seed": 0, "protocol": RELEASED}


def example_of(text: str) -> str:
    """Return the end of a help text."""
    return f"\b\nexample:\n  {text}"


def option_of(argument: Argument, required: bool = True) -> click.Parameter:
    """Return the option of a stage's argument. A ``default`` of None would be one for click, and nothing required."""
    how: dict[str, Any] = {"type": PATH, "metavar": "PATH"}
    if argument.kind == "name":
        how = {"type": TYPES.get(argument.name, str)}
    if required and argument.name in DEFAULTS:
        how |= {"default": DEFAULTS[argument.name], "show_default": True}
    else:
        how["required"] = required and not argument.optional
    return click.Option([f"--{argument.name}"], help=argument.help, **how)
