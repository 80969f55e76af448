"""The documents: messages and commands that they quote are those of the program; no link and no column is missing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ncfm.cli import cli
from ncfm.report.columns import OWN, SHARED, TABLES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
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
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Each command of this program that a page shows, in a block or within a sentence, as the page and its words."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, flags=re.DOTALL)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(rf"`({program} [^`\n…]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        found += [(page.name, shlex.split(line, comments=True)[1:]) for line in lines if line.startswith(f"{program} ")]
    assert len(found) > 5
    return found


def test_a_command_and_its_options_are_the_programs():
    for page, words in commands("ncfm"):
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].isupper():
            assert words[0] in command.commands, f"{page} has `ncfm {words[0]}`"
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
        assert not unknown, f"{page}: `ncfm {command.name}` has no {unknown}"


def test_a_target_of_make_is_one():
    targets = set(re.findall(r"^([a-z./]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page, words in commands("make"):
        assert words[0] in targets, f"{page} has `make {words[0]}`"


def test_a_campaign_that_is_named_exists():
    for page in PAGES:
        for name in re.findall(r"campaign=([a-z0-9-]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / f"params/{name}.yaml").is_file(), f"{page.name} names the campaign {name}"
