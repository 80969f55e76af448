# What is said, or put right, before anything runs: a target of another campaign, a campaign of weeks, an unnamed report
# beside the campaigns' own, a folder that cannot be written or that a dead Snakemake left locked, results that are older
# than they look.
import atexit
import contextlib
import json
import shutil
import socket
import time

import psutil

from ncfm.core.store import check_writable
from ncfm.report.terminal import results_text

HOST, DRY = socket.gethostname(), workflow.output_settings.dryrun
LOCKS, OWNER = Path(".snakemake/locks"), Path(f".snakemake/ncfm-owners/{HOST}-{os.getpid()}.json")
WORDS = sys.argv[1:] if Path(sys.argv[0]).stem == "snakemake" else []
TARGETS = [word for word in WORDS if re.fullmatch(campaigns.NAME, word) and not word.isdigit()]


def refuse_other_targets():
    """Stop where a target is an artefact of other campaigns alone."""
    known = {cell.artefact for cell in CAMPAIGN.cells_of("artefact")}
    for target in TARGETS:
        others = campaigns.having(target) if target not in known | {"all", *STAGES} else []
        if others:
            sys.exit(
                f"ncfm: {target}: not in campaign {CAMPAIGN.name}, but in {', '.join(others)}: snakemake {target} "
                f"--config campaign={others[0]}"
            )


def refuse_unnamed_report():
    """Stop where Snakemake's own report would become report.html in the root, beside the campaigns' own pages."""
    if "--report" in WORDS and not any(word.endswith((".html", ".zip")) for word in WORDS):
        sys.exit(f"ncfm: --report: name a file, e.g. snakemake --report {FOLDER}/snakemake.html")


def refuse_unwritable():
    """Stop where Snakemake's notes, which a dry run writes too, or the results cannot be written: a full disk, say."""
    folder = Path(FOLDER if Path(FOLDER).is_dir() else "results")
    try:
        for path in (OWNER, folder / "report.html")[: 1 if DRY else 2]:
            check_writable(path)
    except NcfmError as error:
        sys.exit(f"ncfm: {error}")


def own_folder():
    """Write down, until this process ends, that it may lock the folder: no other one anywhere has the same three."""
    write_text(OWNER, json.dumps([HOST, os.getpid(), psutil.Process().create_time()]))
    atexit.register(OWNER.absolute().unlink, missing_ok=True)


def may_live(owner):
    """Say whether the Snakemake that wrote down ``owner`` may be alive: nothing is known of those on other machines."""
    try:
        host, process, started = json.loads(owner.read_text())
        return host != HOST or psutil.Process(process).create_time() == started
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, TypeError, psutil.Error):
        return True


def free_folder():
    """Unlock the folder where each Snakemake that may have locked it ran on this machine and is dead."""
    others = [owner for owner in OWNER.parent.glob("*.json") if owner != OWNER]
    if not others or ("--unlock" not in WORDS and any(map(may_live, others))):
        return
    locks = list(LOCKS.glob("*"))
    for file in (*locks, *others):
        file.unlink(missing_ok=True)
    if locks and "--unlock" not in WORDS:
        print("ncfm: the Snakemake that had locked this folder is dead: unlocked", file=sys.stderr)


def mend_times():
    """Bring results of the future, made before the clock was set back, to now, in their order: Snakemake goes by times."""
    now, future = time.time(), {}
    written = [Path("params/base.yaml"), Path(f"params/{CAMPAIGN.name}.yaml"), *Path(FOLDER).rglob("*.*")]
    for path in filter(Path.is_file, written):
        if (changed := path.stat().st_mtime) > now + 60:  # a file server's clock may be a little ahead
            future[path] = changed
    for place, path in enumerate(sorted(future, key=future.get)):
        with contextlib.suppress(PermissionError):  # somebody else's
            os.utime(path, (now + (place - len(future)) / 1000,) * 2)
    if future:
        print(
            f"ncfm: {len(future)} files of {CAMPAIGN.name} were of the future, and now are of this moment",
            file=sys.stderr,
        )


def say_hours():
    """Print what is ahead where it takes more than a day, or more memory or disk than there is."""
    target = next((word for word in TARGETS if word in CAMPAIGN.artefacts), None)
    for line in warning(CAMPAIGN, target, H100 if GPU else CPU):
        print(f"ncfm: {line}", file=sys.stderr, flush=True)


def say_results():
    """Print the campaign's accuracies, as wide as the terminal, where its report was made."""
    with contextlib.suppress(NcfmError):
        print(results_text(Path(FOLDER), shutil.get_terminal_size().columns), end="", file=sys.stderr, flush=True)


if workflow.is_main_process:  # and not a job's own, on a node whose clock may differ
    refuse_other_targets()
    refuse_unnamed_report()
    refuse_unwritable()
    if not DRY:
        own_folder()  # first, so that of two that start at once neither frees what the other locks
        free_folder()
    mend_times()
