"""Make the accuracy model that a user means by ``--accuracy``. The models themselves are in files of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.bleu_table import learn_bleu
from fleetfront.predictors.accuracy.built_in import load_built_in
from fleetfront.predictors.accuracy.call import load_call, load_own
from fleetfront.predictors.accuracy.hwgpt_table import learn_perplexity
from fleetfront.predictors.accuracy.ofa_mlp import OfaMlpAccuracy
from fleetfront.predictors.accuracy.proxies import load_proxy
from fleetfront.predictors.accuracy.tables import read_accuracy_csv
from fleetfront.predictors.base import AccuracyModel
from fleetfront.spaces.base import OfUserFile, SearchSpace, UserFamily

#: Used where a user says nothing.
DEFAULT_ACCURACY = "built-in"

#: Spellings of ``--accuracy``, for help texts and errors.
SPELLINGS = (
    "built-in",
    "csv:PATH[:COLUMN]",
    "ofa-mlp:PATH",
    "supernet:WEIGHTS[,classes=A|B]",
    "perplexity:TABLE",
    "bleu:TABLE[:TASK]",
    "call:FILE.py:FUNCTION",
    "proxy:synflow|naswot",
)

#: Those that say nothing alone.
_WITH_MORE = tuple(spelling.partition(":")[0] for spelling in SPELLINGS if ":" in spelling)

#: (what follows ``supernet:``, space) -> model. Evaluating a supernet needs labelled images and a runtime, which the
#: caller has.
SupernetLoader = Callable[[str, SearchSpace], AccuracyModel]


def load_accuracy(
    spec: str, space: SearchSpace, *, supernet: SupernetLoader | None = None, processes: int = 1
) -> AccuracyModel:
    """The model that a spelling of ``--accuracy`` names, for one space.

    ``supernet`` answers ``supernet:WEIGHTS``; a function of the user's own is asked in so many ``processes``.
    Raises InputError on an unknown spelling, a missing or wrong file, or a model that does not fit the space.
    """
    kind, _, rest = spec.partition(":")
    if spec == DEFAULT_ACCURACY:
        return _load_own(space, processes) if isinstance(space, OfUserFile) else load_built_in(space)
    if kind in _WITH_MORE and not rest:
        spelling = next(text for text in SPELLINGS if text.startswith(kind))
        raise InputError(f"--accuracy {spec!r} does not say which file or name.", f"Write {spelling}.")
    if kind == "csv":
        path, column = _path_and_column(rest)
        return read_accuracy_csv(path, space, column)
    if kind == "ofa-mlp":
        return OfaMlpAccuracy.load(Path(rest), space)
    if kind == "call":
        return load_call(rest, space, processes)
    if kind == "proxy":
        return load_proxy(rest, space)
    if kind == "bleu":
        table, task = _path_and_column(rest)
        return learn_bleu(table, space, task or "")
    if kind == "perplexity":
        return learn_perplexity(Path(rest), space)
    if kind == "supernet":
        if supernet is None:
            raise InputError(
                f"--accuracy {spec!r} is measured on images, which only a search does.",
                "Search with it, or use built-in, csv:PATH or ofa-mlp:PATH here.",
            )
        return supernet(rest, space)
    raise InputError(f"--accuracy {spec!r} is not known.", f"Use one of {', '.join(SPELLINGS)}.")


def _load_own(space: UserFamily, processes: int) -> AccuracyModel:
    if space.own_accuracy is None and space.is_shipped:
        raise InputError(
            f"No accuracies are shipped for {space.name}.", "Use --accuracy csv:PATH or call:FILE.py:FUNCTION."
        )
    if space.own_accuracy is None:
        raise InputError(
            f"{space.own_file.name} has no function accuracy(**genes).",
            "Write one that returns percent, or use --accuracy csv:PATH or call:FILE.py:FUNCTION.",
        )
    return load_own(space.own_accuracy, space, processes)


def _path_and_column(rest: str) -> tuple[Path, str | None]:
    """Split ``PATH[:COLUMN]``; colons inside an existing path (a drive letter) belong to the path."""
    whole = Path(rest)
    path, separator, column = rest.rpartition(":")
    if whole.exists() or not separator:
        return whole, None
    return Path(path), column
