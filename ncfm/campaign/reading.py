"""Reading YAML as it is meant: bounded before anything recursive sees it, no key twice, no number in disguise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ncfm.core.errors import ParamsError

LARGEST = 10 * 2**20  # characters of a file
DEEPEST, MOST = 50, 10**5  # nested lists and mappings; values, those of an anchor counted wherever its alias stands
DISGUISED = re.compile("[-+]?0[0-9a-zA-Z_]|.*[_:]").match  # 010 would be 8, 0x10 16, 1:30 90 and 1_0 10


def _fault(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C where it was built: faster
    """YAML's safe loader, which would keep the last of two equal keys, and read 010 as 8, without a word."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key that stands there twice, before those of other mappings are merged in."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen = set()
        for key in keys if node not in self.__dict__.setdefault("merged", set()) else ():
            value = key.value if key.tag.endswith(":merge") else self.construct_object(key, deep=True)
            if value in seen:
                raise _fault(f"the key {key.value!r} stands there twice", key.start_mark)
            seen.add(value)
        self.merged.add(node)
        super().flatten_mapping(node)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number that is written as people write it."""
        if DISGUISED(node.value):
            raise _fault(f"the number {node.value!r} would be read as another (write decimal digits)", node.start_mark)
        is_int = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _check_extent(text: str) -> None:
    """Raise where lists and mappings are nested too deeply, or aliases stand for too many values or for themselves."""
    sizes: dict[str | None, int] = {}  # of what has an anchor, by its name; 0 until it ends
    open_nodes: list[tuple[str | None, int]] = []  # their anchors, and how many values were before each
    count = 0
    for event in yaml.parse(text, _Loader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_nodes):
                raise _fault(f"*{anchor} stands in itself", event.start_mark)
            count += sizes.get(anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_nodes.pop()
            sizes[name] = count - before
        count += isinstance(event, yaml.NodeEvent)
        if len(open_nodes) > DEEPEST or count > MOST:
            raise _fault(f"nested more than {DEEPEST} deep, or more than {MOST} values", event.start_mark)


def read_yaml(path: Path, end: str = "") -> Any:
    """Return what a YAML file says, up to the text ``end``; {} for nothing. Raises :class:`ParamsError`."""
    if path.exists() and not path.is_file():
        raise ParamsError(f"{path}: is not a file that could hold params")
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ParamsError(f"{path}: is too large for a file of params (allowed: {LARGEST // 2**20} MiB)")
        text = text.partition(end)[0] if end else text
        _check_extent(text)
        values = yaml.load(text, _Loader)
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; run `ncfm use NAME` or restore it from git") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date, a huge number
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else str(error)  # type: ignore[union-attr]
        raise ParamsError(f"{path}: not valid YAML ({' '.join(reason.split())})") from error
    return {} if values is None else values
