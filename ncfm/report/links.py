"""Where a page leads outside its campaign: the program's documents and params files, its commits, runs in MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from markupsafe import Markup

from ncfm.run.sending import link_of

DOCUMENT = re.compile(r"\b(?:docs|params|results/published)/[\w-]+\.(?:md|yaml)\b")
COMMIT = re.compile(r"\b[0-9a-f]{7}\b")


def documents(root: Path) -> Callable[[str], Markup]:
    """Return what makes a link of each of the program's documents and params files that a text names, if it is there.

    The page lies in the folder ``root``; as everywhere, the working folder is that of the program.
    """

    def link(found: re.Match[str]) -> str:
        place = Path(os.path.relpath(found[0], root)).as_posix()
        return f'<a class="file" href="{place}">{found[0]}</a>' if Path(found[0]).is_file() else found[0]

    return lambda text: Markup(DOCUMENT.sub(link, escape(text)))


def commits(address: str | None) -> Callable[[str], Markup]:
    """Return what makes links of the short commits in a text; ``address`` is where commits are shown, if anywhere."""
    link = rf'<a href="{escape(address)}\g<0>">\g<0></a>' if address else r"\g<0>"
    return lambda text: Markup(COMMIT.sub(link, escape(text)))


def runs(campaign: str, root: Path) -> str:
    """Return the link to the file that leads to a campaign's runs in MLflow."""
    return Path(os.path.relpath(link_of(campaign), root)).as_posix()
