"""Export a finished search as an Optuna study, for Optuna's own plots, storages and dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.errors import missing
from fleetfront.search.archive import Archive
from fleetfront.search.checkpoints import ARCHIVE_FILE
from fleetfront.search.fronts_file import load_fronts
from fleetfront.spaces.catalogue import load_space

if TYPE_CHECKING:
    import optuna


def to_optuna(folder: Path | str, *, storage: str | None = None, name: str | None = None) -> optuna.Study:
    """Make a study of every architecture that a search evaluated, in the order of its archive.

    Its objectives are the cost on each device (minimised, in the front's unit) and the accuracy that the search chose
    by (maximised, in percent; a quality that is better low is minimised); genes are categorical parameters, the
    architecture's spelling, its deviation and held-out accuracies are user attributes.

    Args:
        folder: of the search, with ``fronts.json`` and ``archive.npz``.
        storage: Optuna's address of a data base, e.g. ``sqlite:///study.db``; by default the study lives in memory.
        name: of the study; by default space and strategy.

    Raises:
        InputError: the folder holds no search, or of a space that is not installed.
        MissingDependency: optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing("optuna", "optuna", "Exporting a study") from error
    fronts = load_fronts(Path(folder))
    space = load_space(fronts.space)
    archive = Archive.load(Path(folder) / ARCHIVE_FILE, {"space": space.name}, space=space)
    costs = [archive.cost[:, archive.column(front.name)] for front in fronts.devices]
    fewer, more = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    best = more if fronts.quality.is_higher_better else fewer
    study = optuna.create_study(
        storage=storage,
        study_name=name or f"{space.name}, {fronts.strategy}, seed {fronts.seed}",
        directions=[*[fewer] * len(costs), best],
    )
    study.set_metric_names(
        [*(f"{front.name} {front.metric.title} {front.metric.unit}" for front in fronts.devices), fronts.quality.title]
    )
    study.set_user_attr("accuracy", f"{fronts.accuracy_source} ({fronts.accuracy_tier})")
    held_out = {p.arch: p.held_out_accuracy for front in fronts.devices for p in front.points if p.held_out_accuracy}
    genes = dict(zip(space.gene_names, space.choices, strict=True))
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        gene: optuna.distributions.CategoricalDistribution(values) for gene, values in genes.items()
    }
    for row, arch in enumerate(space.arch_ids(archive.genotypes)):
        chosen = zip(genes.items(), archive.genotypes[row].tolist(), strict=True)
        told = {"arch": arch, "accuracy_std": float(archive.accuracy_std[row])}
        study.add_trial(
            optuna.trial.create_trial(
                params={gene: values[place] for (gene, values), place in chosen},
                distributions=distributions,
                values=[*(float(cost[row]) for cost in costs), float(fronts.quality.shown(archive.accuracy[row]))],
                user_attrs={**told, **({"held_out_accuracy": held_out[arch]} if arch in held_out else {})},
            )
        )
    return study
