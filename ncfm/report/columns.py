"""What every column of the tables in `tables/*.csv` means: for the reference."""

from __future__ import annotations

from ncfm.report.tables import anytime, comparisons, continual, ranking, results, search, selection, times
from ncfm.report.verdicts import text as verdict_text
from ncfm.report.verdicts.table import COLUMNS as VERDICTS
from ncfm.report.verdicts.table import COSTS

# By the name of the file the columns, and what is said below the table.
TABLES = {
    "results": (results.COLUMNS, results.NOTE),
    "times": (times.COLUMNS, times.NOTE),
    "verdicts": (VERDICTS, verdict_text.NOTE),
    "comparisons": (comparisons.COLUMNS, comparisons.NOTE),
    "selection": (selection.COLUMNS, selection.NOTE),
    "anytime": (anytime.COLUMNS, anytime.NOTE),
    "continual": (continual.COLUMNS, continual.NOTE),
    "search": (search.COLUMNS, search.NOTE),
    "ranking": (ranking.COLUMNS, ranking.NOTE),
}
SHARED = {
    "dataset": "data set",
    "ipc": "stored images per class; in verdicts as the paper prints it",
    "method": "name of the method in the params file",
    "label": "its name in tables and pictures",
    "arch": "test network",
    "protocol": "protocol of evaluation",
    "n": "networks of all seeds together (continual: seeds x orders; search: sets)",
    "n_seeds": "sets, one for each seed",
    "last": "accuracy after the last epoch, in percent, mean over the seeds",
    "best": "highest accuracy over the looks at the test set, in percent (search: the network that is best on the whole set)",
    "missing": "what was not run",
    "commit": "of the program that computed it; + where its code differed",
    "verdict": "the verdict, or of a comparison what the pairs say",
    "difference": "in points: first minus second; ours minus the reported number",
}
OWN = {
    "curation": "labels and fine-tuning of a curated set",
    **{f"{which}_std": f"sample deviation of {which} over all networks" for which in ("last", "best")},
    **{f"{which}_{end}": f"t interval of {which} over the seeds, 95%" for which in ("last", "best") for end in ("low", "high")},
    "training_images_per_class": "images that a network trains on: stored images times tiles",
    "distill_seconds": "seconds to make one set, mean over the seeds",
    "evaluate_seconds": "seconds to test one set with all its networks, mean over the seeds",
    "hardware": "processor and its cores, or GPU",
    "torch": "version",
    "note": "what of the row was not run",
    "number": "line of the reported number, from 1",
    "source": "where it is reported",
    "metric": "what it is: accuracy, seconds, ...",
    "reported_method": "method as its source names it",
    "variant": "of the method, as reported: with psi, alpha, ...",
    "reported": "the number",
    "reported_std": "what it prints behind ±",
    "ours": "our number that is held against it",
    "compared": "which of ours: best, last, ...",
    **{f"interval_{end}": "of ours, 95%" for end in ("low", "high")},
    "interval_of": "of what it is an interval: our mean, or one more set's mean",
    "verdict_last": "the verdict on our last accuracy",
    "reason": "why there is no verdict",
    "params_that_differ": "from the full protocol: ours (full)",
    "commands": "the commands that made ours",
    **dict.fromkeys(COSTS, "estimated hours of what was not run"),
    "other": "the second method",
    "pairs": "seeds that both methods have",
    **dict.fromkeys(("low", "high"), "interval of the difference, 95%"),
    "p": "of a two-sided sign-flip test",
    "least_p": "the smallest p that so many pairs can reach",
    "looks": "at the test set that were taken",
    "gap": "best minus last, in points",
    **{name: "what the best of so many looks would have been, minus last" for name in selection.COLUMNS if "best_of" in name},
    "iteration": "after which the set was kept",
    "minutes": "that the iterations up to there took, of the processor",
    **{f"accuracy{end}": f"in percent, after the last epoch{text}" for end, text in (("", ""), ("_low", ": interval"), ("_high", ": interval"))},
    "steps": "groups of classes",
    **{f"{which}{end}": f"accuracy {when}{text}" for which, when in (("final", "after the last step"), ("mean", "over the steps")) for end, text in (("", ", in percent"), ("_std", ": sample deviation"))},
    "networks": "of the grid",
    "spearman": "rank correlation with the whole training set",
    "spearman_std": "its sample deviation over the sets",
    "chosen": "network that the set finds best",
    "chosen_whole": "its accuracy when trained on the whole training set, in percent",
    "chosen_whole_std": "its sample deviation over the sets",
    "best_whole": "accuracy of the network that is best on the whole training set",
    **{name: f"accuracy in percent: {words}" for name, words in ranking.ACCURACIES.items()},
    "lrs": "DD-Ranking's label-robust score",
    "ars": "DD-Ranking's augmentation-robust score",
}  # fmt: skip


def columns_text() -> str:
    """Return for each table its note, and a line for each of its columns; what many tables share stands first."""
    parts = ["\n## The columns of the tables\n", _lines(SHARED)]
    for name, (columns, note) in TABLES.items():
        parts += [f"\n### `tables/{name}.csv`\n{note}\n\n", _lines({one: OWN[one] for one in columns if one in OWN})]
    return "".join(parts)


def _lines(meanings: dict[str, str]) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in meanings.items())
    return f"| column | meaning |\n| --- | --- |\n{rows}"
