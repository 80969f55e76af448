"""Hold the finals of the campaign `digits` against tests/golden_digits.json: `python tests/golden_digits.py`.

The list was made by the commit and command that it names, with one thread per network, on the processor
that it names; another processor may round otherwise. Run the campaign first: `snakemake --config campaign=digits`.
With `--write` it makes the list anew: for a change that is meant to change results, and says so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

FILE = Path(__file__).parent / "golden_digits.json"
RESULTS = Path("results/digits")
FINALS = (
    "datasets/*/*.safetensors",
    "extractors/*/*.safetensors",
    "sets/**/distilled.safetensors",
    "evaluations/**/*.json",
)


def finals() -> dict[str, str]:
    """Return the SHA-256 of every data set, pool, set and evaluation of the campaign."""
    paths = sorted(path for pattern in FINALS for path in RESULTS.glob(pattern) if ".record." not in path.name)
    return {str(path.relative_to(RESULTS)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


if __name__ == "__main__":
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    found = finals()
    if "--write" in sys.argv:
        FILE.write_text(json.dumps({**golden, "sha256": found}, indent=1) + "\n", encoding="utf-8")
    differing = sorted(
        name for name in golden["sha256"].keys() | found.keys() if golden["sha256"].get(name) != found.get(name)
    )
    print(f"{len(found)} finals, {len(differing)} differ from {FILE.name}", *differing, sep="\n  ")
    sys.exit(bool(differing))
