"""The kinds of values that params can have: their ranges, and how texts among them are written."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from ncfm.core.errors import one_of

PLAIN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch  # YAML takes 1e-3 for a text
AUGMENTATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")  # parts of a strategy, joined by "_" or "|"
LONGEST_NAME = 64  # several names make one file's name, which may have 255 characters
LONGEST_LINE = 200  # of a title or a label, which stand in tables
Ordered = TypeVar("Ordered", int, float)


def _whole(value: Any) -> Any:
    """Refuse what would pass for a whole number without being one: YAML's yes and no, and texts."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _number(value: Any) -> Any:
    """Refuse YAML's yes and no, and texts that are not written as numbers are."""
    if isinstance(value, bool) or (isinstance(value, str) and not PLAIN(value)):
        raise ValueError("must be a number")
    return value


def _flag(value: Any) -> Any:
    """Refuse numbers and texts in the place of YAML's true and false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


# Ranges. Their upper ends are far above what anyone runs: they catch a slip before it fills the memory, or a float.
Whole, Number = BeforeValidator(_whole), BeforeValidator(_number)
Flag = Annotated[bool, BeforeValidator(_flag)]
Share = Annotated[float, Number, Field(ge=0, le=1)]
Factor = Annotated[float, Number, Field(gt=0, le=1)]
Momentum = Annotated[float, Number, Field(ge=0, lt=1)]
Positive = Annotated[float, Number, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Number, Field(ge=0, le=1e6)]
Count = Annotated[int, Whole, Field(ge=1, le=10**9)]
CountOrNone = Annotated[int, Whole, Field(ge=0, le=10**9)]
Held = Annotated[int, Whole, Field(ge=1, le=10**6)]  # so many are held in memory at once
Groups = Annotated[int, Whole, Field(ge=2, le=10**9)]
Networks = Annotated[int, Whole, Field(ge=1, le=10**4)]
Processes = Annotated[int, Whole, Field(ge=1, le=64)]
Seed = Annotated[int, Whole, Field(ge=0, lt=2**63)]


def known_parts(strategy: str) -> str:
    """Refuse an augmentation that there is not, or one that stands there twice."""
    choices = [choice.split("_") for choice in strategy.split("|")] if strategy else []
    for part in (part for choice in choices for part in choice):
        if part not in AUGMENTATIONS:
            raise ValueError(f"has an {one_of('part', part, AUGMENTATIONS)}")
    if len({*map(frozenset, choices)}) < len(choices) or any(len({*parts}) < len(parts) for parts in choices):
        raise ValueError("must name each part, and each choice of parts, once")
    return strategy


def increasing(values: tuple[Ordered, ...]) -> tuple[Ordered, ...]:
    """Refuse values that do not increase."""
    if list(values) != sorted(set(values)):
        raise ValueError("must increase")
    return values


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an empty list, and one that has a value twice."""
    if not values or len(set(values)) != len(values):
        raise ValueError("must name at least one, and each once")
    return values


def _pairs(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if any(first == second for first, second in pairs) or len({*map(frozenset, pairs)}) < len(pairs):
        raise ValueError("must name pairs of two methods, and each pair once")
    return pairs


def _line(text: str) -> str:
    if not text.isprintable() or not text.strip() or len(text) > LONGEST_LINE:
        raise ValueError(f"must be one line of at most {LONGEST_LINE} printable characters")
    return text


def _path(text: str) -> str:
    if set(text) & set("{}") or text.startswith("~"):
        raise ValueError("must be a path written out: no ~, and no braces, which mean something to Snakemake")
    if not text.isprintable() or any(len(part.encode()) > 255 for part in text.split("/")) or len(text) >= 4096:
        raise ValueError("must be a path: one line, no name of which has more than 255 characters")
    return text


Strategy = Annotated[str, AfterValidator(known_parts)]
Increasing = Annotated[tuple[Count, ...], AfterValidator(increasing)]
Milestone = Annotated[float, Number, Field(gt=0, lt=1)]
Milestones = Annotated[tuple[Milestone, ...], AfterValidator(increasing)]
Pairs = Annotated[tuple[tuple[str, str], ...], AfterValidator(_pairs)]
FilePath = Annotated[str, AfterValidator(_path)]
# Names stand in paths, in DVC's names and in the workflow's patterns.
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$", max_length=LONGEST_NAME)]
Names = Annotated[tuple[str, ...], AfterValidator(each_once)]
Line = Annotated[str, AfterValidator(_line)]
Counts = Annotated[tuple[Count, ...], AfterValidator(each_once)]
