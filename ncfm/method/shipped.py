"""What ships with the repository, so that nobody computes it again: trained extractors, and distilled sets by name.

Everything lies in `results/shipped/`: `extractors/<name>.safetensors` and `sets/<name>.safetensors`, each with a note
beside it, `<name>.json`, that holds its SHA-256 and how it was made. `python -m ncfm.report.ship` writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncfm.core.errors import DataError, one_of
from ncfm.core.params import PretrainParams, parse
from ncfm.core.store import load_tensors, read_json, sha256

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).resolve().parents[2] / "results" / "shipped"

HISTORY = ("network", "epoch", "loss", "test_accuracy")  # columns of a pool's history, in this order


@dataclass(frozen=True)
class Extractors:
    """Trained networks of a pool, of which only the trained weights are kept: a seed gives the initial ones."""

    file: Path
    note: Mapping[str, Any]
    wanted: int  # members that the pool shall have

    @property
    def members(self) -> list[int]:
        """The members of the pool that are there."""
        return [member for member in map(int, self.note["histories"]) if member < self.wanted]

    def history(self, member: int) -> list[dict[str, float]]:
        """Return the history of a member's training, a row per epoch."""
        rows = self.note["histories"][str(member)]
        return [{name: row[name] for name in HISTORY if name in row} for row in rows]

    def trained(self, data: Path) -> dict[int, dict[str, Tensor]]:
        """Return each member's trained weights; none, with a line that says why, where they are not to be used.

        ``data`` is the file of training images, which must be those that the members were trained on.
        """
        if sha256(data) != self.note["data"]:
            return _unused(self.file, f"was trained on other images than {data}")
        try:
            if sha256(self.file) != self.note["sha256"]:
                return _unused(self.file, "is not the file that was shipped (`git checkout` brings it back)")
            tensors, _ = load_tensors(self.file)
        except DataError as error:
            return _unused(self.file, str(error))
        weights: dict[int, dict[str, Tensor]] = {member: {} for member in self.members}
        for name, value in tensors.items():
            member, _, weight = name.partition(".")
            if int(member) in weights:
                weights[int(member)][weight] = value.float() if value.is_floating_point() else value
        return weights


def _unused(file: Path, reason: str) -> dict[int, dict[str, Tensor]]:
    print(f"pretrain: {file}: {reason}; its networks are trained here instead", file=sys.stderr, flush=True)
    return {}


def find_extractors(params: PretrainParams, dataset: str) -> Extractors | None:
    """Return the shipped networks that these params would train on ``dataset``, as many as there are, or None.

    A network depends on every field of the params but for their number.
    """
    for path in sorted(SHIPPED.glob("extractors/*.json")):
        note = read_json(path)
        known = parse(PretrainParams, {**note["params"], "pool": params.pool}, str(path))
        if note["dataset"] == dataset and known == params:
            return Extractors(path.with_suffix(".safetensors"), note, params.pool)
    return None


def find_set(name: str) -> Path:
    """Return the file of a shipped set, e.g. ``cifar10-ipc1-fast``. Raises :class:`DataError` for an unknown name."""
    names = sorted(path.stem for path in SHIPPED.glob("sets/*.safetensors"))
    if name not in names:
        raise DataError(one_of("shipped set", name, names))
    return SHIPPED / "sets" / f"{name}.safetensors"
