"""The table of architecture searches: whether a set puts networks in the order that the whole training set does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ncfm.core import layout
from ncfm.report.collect import AccuracyTable, Values, collect_accuracies
from ncfm.report.files import ResultsFolder
from ncfm.report.tables.results import deviation, document, readable

COLUMNS = (
    *("dataset", "ipc", "method", "label", "protocol", "networks", "spearman", "spearman_std", "n"),
    *("chosen", "chosen_whole", "chosen_whole_std", "best", "best_whole", "missing"),
)
NOTE = (
    "A grid of networks is trained on each set and on the whole training set. Spearman: rank correlation of their test "
    "accuracies (last epoch, means over the repeats), 1 where the set orders the networks as the whole training set "
    "does; mean ± sample standard deviation over n sets, one per seed. Chosen: the network that the set finds best "
    "(the first of the grid where several are), and its accuracy in percent trained on the whole training set; best: "
    "the network that is best there."
)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation in [-1, 1], equal values at their mean rank; NaN where either is constant."""
    return float(pd.DataFrame({"first": first, "second": second}).corr(method="spearman").iloc[0, 1])


def collect_searches(contents: Values, results: ResultsFolder) -> list[AccuracyTable]:
    """Read the searches that ``contents`` lists, those on the whole training set included.

    A network is its architecture, width and normalisation; its accuracies are means over the repeats, a row per set.
    """

    def read(content: Values) -> tuple[tuple[tuple[str, int, str], ...], list[list[float]]]:
        networks = content["networks"]
        means = [float(np.mean([float(one) for one in network["accuracies"]])) for network in networks]
        return tuple((str(one["arch"]), int(one["width"]), str(one["norm"])) for one in networks), [means]

    return collect_accuracies(contents, results, "search", ("a search", "networks"), read)


def compared(searches: Sequence[AccuracyTable]) -> list[tuple[AccuracyTable, AccuracyTable]]:
    """Return each search on sets with the one on the whole training set of its data set."""
    wholes = {search.names["dataset"]: search for search in searches if search.names["method"] == layout.WHOLE}
    return [(search, wholes[search.names["dataset"]]) for search in searches if search.names["method"] != layout.WHOLE]


def search_table(searches: Sequence[AccuracyTable]) -> pd.DataFrame:
    """Return one line per data set, IPC and method, with the columns :data:`COLUMNS`."""
    lines = []
    for search, whole in compared(searches):
        line = {"protocol": layout.RELEASED, **search.names, "label": search.label}
        networks = [" ".join(map(str, network)) for network in search.columns]
        line |= {"networks": len(networks), "n": len(search.accuracies)}
        line |= {"missing": ", ".join((*search.missing, *whole.missing))}
        if comparable(search, whole):
            truth = whole.accuracies.mean(0)
            correlations = np.array([rank_correlation(row, truth) for row in search.accuracies])
            chosen = search.accuracies.argmax(1)
            line |= {
                "spearman": float(correlations.mean()),
                "spearman_std": deviation(correlations),
                "chosen": " / ".join(dict.fromkeys(networks[index] for index in chosen)),
                "chosen_whole": float(truth[chosen].mean()),
                "chosen_whole_std": deviation(truth[chosen]),
                "best": networks[truth.argmax()],
                "best_whole": float(truth.max()),
            }
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def comparable(search: AccuracyTable, whole: AccuracyTable) -> bool:
    """Say whether both trained the same networks."""
    return len(search.columns) > 0 and search.columns == whole.columns


def search_markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table as Markdown."""
    names = ("dataset", "ipc", "label", "protocol", "networks", "spearman", "n", "chosen", "chosen_whole", "best")
    heads = {"spearman": "Spearman", "chosen_whole": "chosen, on whole", "best_whole": "best, on whole"}
    decimals = {"spearman": 2, "chosen_whole": 1, "best_whole": 1}
    texts = readable(table, (*names, "best_whole", "missing"), decimals, **heads)
    return document(f"Architecture search: {title}", NOTE, texts)
