"""Registries: what people add (a discrepancy, a rule, an architecture, a data set), found in the files of a package.

A file declares what it adds in ``ENTRIES``. Files are read at the first question, and none imports torch at its top,
so that plans and engines learn names, costs and needs quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from ncfm.core.errors import ParamsError, one_of

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """The ``ENTRIES`` of a package's files by ``name``, sorted by ``order`` and file; messages call one a ``what``."""

    def __init__(self, what: str, package: str) -> None:
        self.what, self.package = what, package

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """All entries by name, in their order. Raises ValueError where two have one name."""
        files = sorted(file.name for file in iter_modules(import_module(self.package).__path__))
        found: list[Any] = [entry for file in files for entry in import_module(f"{self.package}.{file}").ENTRIES]
        by_name = {entry.name: entry for entry in sorted(found, key=lambda entry: entry.order)}
        if len(by_name) < len(found):
            raise ValueError(f"{self.package}: two entries have one name: {', '.join(entry.name for entry in found)}")
        return by_name

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, name: str, where: str = "") -> Entry:
        """Return the entry called ``name``, or raise :class:`ParamsError`, whose message begins with ``where``."""
        if name not in self.entries:
            raise ParamsError(one_of(self.what, name, self.entries, where))
        return self.entries[name]
