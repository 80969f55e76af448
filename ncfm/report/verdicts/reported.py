"""Every number that the paper reports, one by one: what reported.csv says of each, typed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

REPORTED = Path(__file__).with_name("reported.csv")
WHOLE_METHOD = "Whole Dataset"
OURS = ("NCFM", "DM", WHOLE_METHOD, "Random", "Herding", "Forgetting")  # the methods that this project can run


class ReportedNumber(BaseModel):
    """One number that the paper reports: its line in reported.csv, from 1, and what that has.

    ``artefact`` is the table or figure: ``table1``, ``fig5``, or ``text``. An IPC may be ``full``, ``value``, as it is
    printed, a word or a range; ``std`` is the deviation beside it. ``extractor`` is the network that its set was
    distilled with, where that is another than the one that tests; ``psi`` whether frequencies were learned, if the
    paper says so. ``alpha``, ``num_frequencies`` and ``step`` are its place in a sweep or curve; ``digitised`` means
    read off a figure. ``gain`` is ``psi`` where it is what learning the frequencies adds to Table 5. ``protocol`` names
    how the test networks were trained, where that is not the protocol of its method (ncfm/report/verdicts/protocol.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    source: str
    method: str
    dataset: str = ""
    ipc: str = ""
    arch: str = ""
    metric: str
    variant: str = ""
    value: str
    std: float | None = None
    hardware: str = ""
    note: str = ""
    artefact: str
    extractor: str = ""
    psi: Literal["with", "without"] | None = None
    alpha: float | None = None
    num_frequencies: int | None = None
    step: int | None = None
    digitised: bool = False
    curated: bool = False
    gain: Literal["psi"] | None = None
    protocol: str = ""

    @property
    def network(self) -> str:
        """The name of the test network in ncfm/models/registry.py."""
        return self.arch.lower()

    @property
    def is_ours(self) -> bool:
        """Whether this project can run its method: NCFM, DM, coresets, the whole training set."""
        return self.method in OURS

    @property
    def quantity(self) -> float | None:
        """The number that its value is; None where it is a word or a range."""
        try:
            return float(self.value)
        except ValueError:
            return None

    @property
    def one_set(self) -> bool:
        """Whether it is the accuracy of one distilled set, as NCFM's are (10 networks); prior work has several sets."""
        return self.method == "NCFM"

    @property
    def margin(self) -> float:
        """How far its value may be off: half its last digit, or twice that where read off a figure.

        A deviation printed for several sets adds 1.96 std / sqrt(5), as if it were that of five sets' means.
        """
        decimals = len(self.value.partition(".")[2])
        rounding = 0.5 * 10.0**-decimals * (2 if self.digitised else 1)
        return rounding + (1.96 * self.std / SETS_REPORTED**0.5 if self.std is not None and not self.one_set else 0.0)


SETS_REPORTED = 5  # sets behind a deviation that prior work prints


def read_reported(path: Path = REPORTED) -> list[ReportedNumber]:
    """Return all reported numbers, in the order of the file."""
    with path.open(newline="", encoding="utf-8") as stream:
        lines = [{key: value for key, value in line.items() if value} for line in csv.DictReader(stream)]
    return [ReportedNumber.model_validate({"number": at, **line}) for at, line in enumerate(lines, start=1)]
