"""The errors a user can meet: each message is one line that says what was wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

FAULT = "ncfm: "  # how the line begins that says why a command failed; `ncfm status` and the logger look for it
NOTICE = "note: "  # how a line begins of something that stops nothing
INTERRUPTED = f"{NOTICE}interrupted; run the same command again to continue"
LONGEST = 4000  # characters of a message; of a longer one the middle goes
SHOWN = reprlib.Repr()  # how much of a wrong value its message shows
SHOWN.maxstring = SHOWN.maxother = 80
SHOWN.maxlist = SHOWN.maxdict = 10
SHOWN.maxlevel = 3


class NcfmError(Exception):
    """A fault the user can mend. The command line prints its message as one line and exits with status 2.

    What cannot be printed, and would break or colour the line, is escaped: a message names keys and files as they are.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        super().__init__("".join(one if one.isprintable() else repr(one)[1:-1] for one in message))


class ParamsError(NcfmError):
    """A campaign or parameter file says something that cannot be run."""


class ImpossibleError(ParamsError):
    """Each value alone is fine, but together they make a cell that cannot be; others of the campaign may still run."""


class DataError(NcfmError):
    """A data file is missing, corrupted, or not what its name promises."""


class StorageError(NcfmError):
    """A file could not be written: no permission, no space, or not a folder."""


class DivergenceError(NcfmError):
    """A loss or a gradient became infinite or not a number; nothing moved from there on."""


class StageError(NcfmError):
    """One of the processes of a stage ended before the work was done."""


def notices(*lines: str) -> str:
    """Return the text of what stops nothing: each line by itself, marked as such."""
    return "".join(f"{NOTICE}{line}\n" for line in lines)


def one_of(what: str, value: object, allowed: Iterable[object], place: str = "") -> str:
    """Return the message for an unknown ``what`` (e.g. method), with the nearest valid one; ``place``: file and key."""
    names = [str(name) for name in allowed]
    shown = SHOWN.repr(value)
    near = difflib.get_close_matches(value if isinstance(value, str) and len(value) <= 80 else shown, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    prefix = f"{place}: " if place else ""
    return f"{prefix}unknown {what} {shown}{hint} (allowed: {', '.join(names) or 'there is none here'})"


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def memory_fault(error: BaseException) -> str:
    """Return the message for an error of Python's, numpy's or torch's allocator; empty for any other."""
    wanted = re.search("(?i)allocate ([0-9.]+ [a-z]+)", str(error))
    if not isinstance(error, MemoryError) and not wanted and "out of memory" not in str(error):
        return ""
    asked = f" ({wanted[1]} at once)" if wanted else ""
    return f"not enough memory{asked}; lower width, batch, batch_real, num_frequencies or images_at_once of the stage"
