"""The documents: messages that they quote are those of the program; the reference has every column of the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ncfm.report.columns import OWN, SHARED, TABLES

ROOT = Path(__file__).parent.parent
SOURCES = [*(ROOT / "ncfm").rglob("*.py"), ROOT / "Makefile"]


def said_by_the_program() -> str:
    """The program's source with texts over several lines joined, and what is put into them as an ellipsis."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\s+", " ", joined)


def quoted() -> list[str]:
    """What the first column of the page quotes, but for what other programs say, whose names stand before it."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    lines = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    ours = [line for line in lines if line.startswith("`") and "your own program" not in line and "Killed" not in line]
    return [message for line in ours for message in re.findall("`([^`]*)`", line) if "…" in message]


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_of_the_program(message):
    text = said_by_the_program()
    for part in message.split("…"):
        assert part.strip() in text


def test_something_is_quoted():
    assert len(quoted()) > 15


def test_every_column_has_a_meaning_and_every_meaning_a_column():
    columns = {name for names, _ in TABLES.values() for name in names}
    assert columns == SHARED.keys() | OWN.keys() and not SHARED.keys() & OWN.keys()


def test_links_between_documents_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
