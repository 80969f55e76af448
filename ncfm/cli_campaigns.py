"""Sub-commands of `ncfm` about a campaign as a whole: make it the active one, write its params files, plan it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Command = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
EXAMPLES = {"use": "ncfm use digits", "params": "ncfm params digits", "plan": "ncfm plan cifar10-cpu"}


def add_commands(command: Command) -> None:
    """Add `use`, `params` and `plan`. ``command`` adds a sub-command."""
    for name, run, text in (
        ("use", _use, "Make a campaign the active one, for snakemake and dvc."),
        ("params", _params, "Check a campaign and write the params file of each of its cells."),
    ):
        command(name, run, text).add_argument("campaign", help="a campaign: params/<campaign>.yaml")
    sub = command("plan", _plan, "Print a campaign's cells, and estimates of its device hours and disk; runs nothing.")
    sub.add_argument("campaign", nargs="?", help="a campaign: params/<campaign>.yaml (default: the active one)")
    sub.add_argument("--artefact", help="only what this table or figure of the campaign needs, e.g. table4 of paper")


def _use(options: argparse.Namespace) -> None:
    from ncfm.campaign import campaign

    chosen = campaign.load(options.campaign)
    campaign.use(chosen)
    counts = ", ".join(f"{len(chosen.of(stage))} {stage}" for stage in ("pretrain", "distill", "select", "evaluate"))
    print(f"active campaign: {chosen.name} ({counts})")


def _params(options: argparse.Namespace) -> None:
    from ncfm.campaign import campaign

    chosen = campaign.load(options.campaign)
    campaign.check_active(chosen)
    campaign.write_params(chosen)


def _plan(options: argparse.Namespace) -> None:
    from ncfm.campaign import campaign
    from ncfm.campaign.plan import plan_text

    print(plan_text(campaign.load(options.campaign or campaign.active()), options.artefact), end="")
