"""Whatever stands in a params file or in somebody's set is read, or refused in one line: never a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ncfm import cli
from ncfm.campaign import campaign
from ncfm.core.errors import NcfmError
from ncfm.core.store import write_text
from ncfm.datasets.catalogue import facts_of

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = int(os.environ.get("NCFM_FUZZ_EXAMPLES", "100"))  # more: for docs/reliability.md
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FUZZ = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=SLOW)
NUMBERS = st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from([1e38, 2**63, 10**30, 5e-324])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def paths_of(content: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in nested mappings."""
    below = content.items() if isinstance(content, dict) else ()
    return [above, *(path for key, value in below for path in paths_of(value, (*above, key)))]


FILES = {
    name: yaml.safe_load((ROOT / f"params/{name}.yaml").read_text("utf-8")) for name in ("base", "tiny", "protocols")
}
PLACES = [(name, path) for name, content in FILES.items() for path in paths_of(content) if path]


@FUZZ
@given(place=st.sampled_from(PLACES), value=VALUES, key=st.none() | st.text(max_size=6))
def test_any_value_anywhere_in_a_campaign(place, value, key, tmp_path):
    """In place of what stands there, or under a new key beside it."""
    name, path = place
    contents = {one: yaml.safe_load(yaml.safe_dump(content)) for one, content in FILES.items()}
    part = contents[name]
    for step in path[:-1]:
        part = part[step]
    part[path[-1] if key is None else key] = value
    for one, content in contents.items():
        write_text(tmp_path / f"{one}.yaml", yaml.safe_dump(content))
    for one in ("tiny", "protocols") if name == "base" else (name,):
        try:
            assert campaign.load(one, tmp_path).cells
        except NcfmError as error:
            assert str(error).startswith(f"{tmp_path}/") and "\n" not in str(error)
            assert all(character.isprintable() for character in str(error))


@FUZZ
@given(text=st.text(max_size=40) | st.binary(max_size=40))
def test_any_text_as_a_campaign(text, tmp_path):
    write_text(tmp_path / "base.yaml", (ROOT / "params/base.yaml").read_text("utf-8"))
    (tmp_path / "tiny.yaml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(NcfmError) as refused:
        campaign.load("tiny", tmp_path)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good set of CIFAR-10 at IPC 1 as a torch file and as npz."""
    folder, facts = tmp_path_factory.mktemp("sets"), facts_of("cifar10")
    images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)
    torch.save([images, labels], folder / "set.pt")
    np.savez(folder / "set.npz", images=images.numpy(), labels=labels.numpy(), classes=np.array(facts.label_names))
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@FUZZ
@given(
    form=st.sampled_from([".pt", ".npz"]),
    cut=st.none() | st.integers(0, 2**15),
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=6),
)
def test_any_bytes_as_a_set(form, cut, changes, sets, tmp_path, monkeypatch, capsys):
    """Of a good set some bytes are changed, or its end is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCFM_TRACKING", "off")
    content = bytearray(sets[form])
    for place, value in changes:
        content[place % len(content)] = value
    Path(f"set{form}").write_bytes(content[: None if cut is None else cut % len(content)])
    command = ["import", f"set{form}", "--dataset", "cifar10", "--method", "theirs", "--out", "theirs"]
    status, said = cli.main(command), capsys.readouterr().err
    assert status == 0 or (status == 2 and said.splitlines()[-1].startswith("ncfm: "))
