"""The command `ncfm`: a sub-command for each stage of the table, and those around campaigns, sets and records."""

from __future__ import annotations

import difflib
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ncfm.campaign import campaign as campaigns
from ncfm.campaign import engines, explain, status
from ncfm.campaign.layers import check_declared
from ncfm.campaign.options import PATH, example_of, option_of
from ncfm.campaign.plan import lacking, plan_text
from ncfm.core.errors import FAULT, INTERRUPTED, NcfmError, ParamsError, memory_fault, notices
from ncfm.core.layout import MLFLOW_PORT, campaign_folder
from ncfm.core.params import parse
from ncfm.outside.commands import add_command, export_command, import_command
from ncfm.outside.wish import Wish, folder_options
from ncfm.stages import cells, table
from ncfm.stages.running import THREADS, run
from ncfm.stages.table import STAGES, Argument, Stage

PARAMS = Argument("params", "", "params of the stage (JSON)", "input")
SECTIONS = {  # of the help text
    "Workflow": (
        *("campaigns", "methods", "use", "plan", "status", "results"),
        *("settle", "explain", "params", "add", "track", "ui"),
    ),
    "Stages (snakemake and dvc repro run them for you)": tuple(name for name in STAGES if name != cells.Artefact.stage),
    "Sets of images and results": ("import", "export", "compare", "verify"),
}


class Commands(click.Group):
    """The sub-commands in sections; a misspelt one is answered with the nearest."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(200)) for name in names])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the sub-command, or name the nearest."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint} Commands: {', '.join(self.commands)}.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Each stage reads the files named on its command line and writes the files named there, nothing else.",
)
@click.version_option(package_name="ncfm")
def cli() -> None:
    """A reproduction of NCFM (Neural Characteristic Function Matching) with a verdict on every number.

    First try `ncfm plan digits`, which runs nothing, then `snakemake --cores all`, which runs that in minutes.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 with one line on standard error, or 130 and 143."""
    # An exception, not a sudden death: temporary files are removed and the tracked run is closed as killed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        cli.main(arguments, prog_name="ncfm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except (click.ClickException, NcfmError) as error:
        text = " ".join(error.format_message().split()) if isinstance(error, click.ClickException) else error
        print(f"{FAULT}{text}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, click.Abort, SystemExit) as error:
        print(INTERRUPTED, file=sys.stderr)
        return int(error.code or 0) if isinstance(error, SystemExit) else 130
    except OSError as error:  # that no reader or writer has words for: a name too long, a folder of somebody else's
        print(f"{FAULT}{error.filename or 'a file or the screen'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not (fault := memory_fault(error)):
            raise
        print(f"{FAULT}{fault}", file=sys.stderr)
        return 2
    return 0


def _stage_command(stage: Stage) -> click.Command:
    """Return the sub-command of a stage of the table."""

    def callback(params: Path, **values: Any) -> None:
        if stage.name == "report":
            from ncfm.report.build import run_report

            run_report(params, values["results"], THREADS)
        else:
            run(stage, params, values)

    options = [option_of(argument) for argument in (PARAMS, *stage.arguments)]
    example = example_of(table.command("digits", stage.example))
    return click.Command(stage.name, callback=callback, params=options, help=stage.help, epilog=example)


def _distill_command(stage: Stage) -> click.Command:
    """Return the sub-command `distill`, which also takes a folder of images and needs no params then."""
    own = folder_options()  # which are read only without --params

    def callback(params: Path | None, folder: Path | None, **values: Any) -> None:
        alone = {name: values.pop(name) for name in own}
        if folder is not None and (params is not None or values["data"] is not None):
            raise ParamsError(f"{folder}: is read only without --data and --params, of which one is given")
        values["data"] = values["data"] or folder
        if values["data"] is None:
            raise ParamsError("--data: is missing, a folder of images: ncfm distill --data FOLDER")
        if params is None:
            if values.pop("extractors") is not None:
                raise ParamsError("--extractors: is read only with --params, which is missing")
            from ncfm.outside.adhoc import distill_folder

            given = {name: value for name, value in (values | alone).items() if value is not None}
            print(distill_folder(values["data"], parse(Wish, given, "ncfm distill"), values["out"]))
            return
        for name in ("extractors", "method", "out"):
            if values[name] is None:
                raise ParamsError(f"--{name}: is missing, but is needed with --params")
        for name, value in alone.items():
            if value is not None:
                raise ParamsError(f"--{name}: is read only without --params, whose file says it")
        run(stage, params, values)

    arguments = [
        replace(one, help=f"folder of images, FOLDER/<class>/*.png, or with --params the {one.help}")
        if one.name == "data"
        else one
        for one in (PARAMS, *stage.arguments)
    ]
    options: list[click.Parameter] = [click.Argument(["folder"], required=False, type=PATH)]
    options += [option_of(argument, argument.name in ("ipc", "seed")) for argument in arguments]
    options += [click.Option([f"--{name}"], type=int, help=f"own folder: {text}") for name, text in own.items()]
    text = (
        f"{stage.help}\n\nWith --params: one cell of a campaign, on a prepared data set. Without: FOLDER or --data is "
        "a folder of images, FOLDER/<class>/*.png, --method any but whole (default paper), --out the folder "
        "for all stages (default results/adhoc/<folder name>)."
    )
    example = example_of(f"ncfm distill photos --ipc 10\n  {table.command('digits', stage.example)}")
    return click.Command(stage.name, callback=callback, params=options, help=text, epilog=example)


@cli.command("use", epilog=example_of("ncfm use digits"))
@click.argument("campaign")
def _use(campaign: str) -> None:
    """Make a campaign the active one, for snakemake and dvc."""
    chosen = campaigns.load(campaign)
    engines.use(chosen)
    numbers = {stage: len(chosen.cells_of(stage)) for stage in STAGES}
    counts = ", ".join(f"{number} {stage}" for stage, number in numbers.items() if number)
    skipped = f"; skipped, because they cannot be: {len(chosen.skipped)}" if chosen.skipped else ""
    print(f"active campaign: {chosen.name} ({counts}{skipped})")
    print(notices(*lacking(chosen), *explain.notes_on(chosen)), end="")


@cli.command("params", epilog=example_of("ncfm params digits"))
@click.argument("campaign")
def _params(campaign: str) -> None:
    """Check a campaign and write the params file of each of its cells."""
    chosen = campaigns.load(campaign)
    if engines.is_active(chosen):
        engines.check_active(chosen)
    campaigns.write_params(chosen)


@cli.command("plan", epilog=example_of("ncfm plan cifar10-cpu"))
@click.argument("campaign", default=engines.active)
@click.option("--artefact", help="only what this table or figure of the campaign needs, e.g. table4 of paper")
def _plan(campaign: str, artefact: str | None) -> None:
    """Print a campaign's cells, and estimates of its device hours and disk; runs nothing."""
    chosen = campaigns.load(campaign)
    print(plan_text(chosen, artefact), end="")
    print(notices(*chosen.too_large, *lacking(chosen, artefact), *explain.notes_on(chosen)), end="")


@cli.command("campaigns")
def _campaigns() -> None:
    """List the campaigns of params/; a star marks the active one."""
    print(explain.campaigns_text(engines.active_if_any()), end="")


@cli.command("methods")
def _methods() -> None:
    """List the methods that a campaign can name, with the stage that makes their sets."""
    print(explain.methods_text(), end="")


@cli.command("status", epilog=example_of("ncfm status digits"))
@click.argument("campaign", default=engines.active)
def _status(campaign: str) -> None:
    """Say which cells of a campaign are done, running or failed and why, and how many hours are left."""
    print(status.status_text(campaigns.load(campaign)), end="")


@cli.command("results", epilog=example_of("ncfm results digits"))
@click.argument("campaign", default=engines.active)
def _results(campaign: str) -> None:
    """Print a campaign's accuracies, as wide as the terminal."""
    from ncfm.report.terminal import results_text

    check_declared("campaign", [campaign], campaigns.available(), str(campaigns.PARAMS))
    print(results_text(Path(campaign_folder(campaign)), shutil.get_terminal_size().columns), end="")


@cli.command("settle", epilog=example_of("ncfm settle digits"))
@click.argument("campaign", default=engines.active)
def _settle(campaign: str) -> None:
    """Tell Snakemake what is done already, e.g. after `dvc pull` into a fresh clone: by records, not by times."""
    from ncfm.campaign.settle import settle

    print(settle(campaigns.load(campaign)))


@cli.command("explain", epilog=example_of("ncfm explain distill.iterations"))
@click.argument("key")
@click.argument("campaign", default=engines.active)
def _explain(key: str, campaign: str) -> None:
    """Say what a params KEY means and takes, and which value each cell of a campaign has, from which place."""
    print(explain.explain_text(campaigns.load(campaign), key), end="")


for _stage in STAGES.values():
    if _stage.cell is not cells.Artefact:  # `ncfm report` writes those too
        cli.add_command(_distill_command(_stage) if _stage.name == "distill" else _stage_command(_stage))


@cli.command("track", epilog=example_of("ncfm track import results"))
@click.argument("action", type=click.Choice(["import"]))
@click.argument("folder", type=PATH, default=Path("results"))
def _track(action: str, folder: Path) -> None:
    """Send records of finished stages below FOLDER (default: results) to MLflow, those that are not there yet."""
    from ncfm.run import tracking

    tracking.import_records(folder)


@cli.command("compare", epilog=example_of("ncfm compare digits"))
@click.argument("first", type=PATH)
@click.argument("second", type=PATH, required=False)
def _compare(first: Path, second: Path | None) -> None:
    """Compare two runs cell by cell: campaigns or folders of results; by default with what is published of FIRST."""
    from ncfm.report.compare import compare_text

    folders = [
        Path(campaign_folder(one.name)) if one.parts == (one.name,) else one for one in filter(None, (first, second))
    ]
    print(compare_text(folders[0], folders[1] if second else Path("results/published", first.name)), end="")


@cli.command("verify", epilog=example_of("ncfm verify results/digits"))
@click.argument("folder", type=PATH, default=Path("results"))
def _verify(folder: Path) -> None:
    """Check the files below FOLDER (default: results) against their records, and name those that were changed."""
    from ncfm.run.verify import verify

    for line in verify(folder):
        print(line)


@cli.command("ui", epilog=example_of("ncfm ui digits --port 5001"))
@click.argument("campaign", default=engines.active_if_any)
@click.option(
    "--port", default=MLFLOW_PORT, type=click.IntRange(1, 65535), show_default=True, help="of MLflow's server"
)
def _ui(campaign: str | None, port: int) -> None:
    """Browse every run in MLflow: print a link for each campaign, open that of one, serve them until interrupted.

    The one opened is CAMPAIGN, or else the active one.
    """
    from ncfm.run import tracking

    tracking.serve(port, campaign)


cli.add_command(add_command)
cli.add_command(import_command)
cli.add_command(export_command)


if __name__ == "__main__":
    sys.exit(main())
