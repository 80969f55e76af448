"""Write `docs/reference.md`: every key of the params files, the structure of a campaign's file, the tables' columns.

`make docs/reference.md` runs it; a test holds the committed page to what it prints.
"""

from __future__ import annotations

from ncfm.campaign.explain import kind_text, shown
from ncfm.core.layout import NAMES
from ncfm.core.params import StageParams
from ncfm.report.columns import columns_text
from ncfm.stages.table import STAGES

HEAD = """\
# Reference

Written by `make docs/reference.md` from the program; a test compares the two. `ncfm explain STAGE.KEY` says the same of one
key, and which value each cell of a campaign has, from which place.

## The structure of a campaign's file
`params/<campaign>.yaml` is laid over `params/base.yaml`, and says only what differs.

| key | holds |
| --- | --- |
| `title` | a line for tables and pages |
| `architectures` | the test networks, e.g. `[convnet-3]` |
| `datasets: {NAME: {ipcs: [1, 10]}}` | the data sets and IPCs; beside `ipcs` the sections of stages that differ for the data set, and `by_ipc: {10: {...}}` those that differ at one IPC |
| `methods: {NAME: {seeds: [0, 1]}}` | the methods, their seeds, and sections that differ; `like: OTHER` starts from another method, `label` names it in tables, `stage` and `of` (with `stage: curate`) make a new one |
| `protocols: {NAME: {evaluate: {...}}}` | the protocols of evaluation to run; none: `released` |
| `continual`, `anytime`, `search` | tests of another kind: of which `methods`, under which `protocol`, and what is theirs (`steps`; `depths`, `widths`, `norms`) |
| `artefacts: {NAME: {datasets, methods, ...}}` | tables and figures that are targets of their own; the campaign is then the union of their cells |
| `report` | what the page shows, e.g. `comparisons: [[paper, mmd]]` |
| the name of a stage | values for all its cells: `distill: {iterations: 500}` |

**What wins over what.** For one cell of a stage the later wins: the stage's section, the data set's, the data set's at this IPC,
the method's, first of the base and then of the campaign; of an evaluation at last the protocol. `ncfm plan` and `ncfm use`
name each value of a campaign's stage section that does not reach every cell.

**Where things lie**, below `results/<campaign>/`: `params/` the resolved values of each cell, `logs/<stage>/` what each stage
printed, `*.record.json` beside each result what ran, on what, how long. Names stand in this order: NAMES.
"""


def reference_text() -> str:
    """Return the page."""
    parts = [HEAD.replace("NAMES", ", ".join(f"`{name}`" for name in NAMES))]
    for stage in STAGES.values():
        if stage.params.stage == stage.name:
            parts.append(f"\n## `{stage.name}`\n{stage.help}\n\n{keys_text(stage.params)}")
    return "".join([*parts, columns_text()])


def keys_text(model: type[StageParams]) -> str:
    """Return a table of the keys of a stage's params."""
    lines = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        default = "none: must be given" if field.is_required() else f"`{shown(field.get_default())}`"
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind_text(field)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference_text(), end="")
