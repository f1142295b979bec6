"""Log a finished search to MLflow: what was asked, what was found, and its files."""

from __future__ import annotations

from pathlib import Path

from fleetfront.errors import missing
from fleetfront.search.fronts_file import load_fronts


def log_to_mlflow(folder: Path | str, *, bundles: tuple[Path | str, ...] = ()) -> str:
    """Log the search in ``folder`` into MLflow's active run, or into one of its own; returns the run's id.

    Parameters are space, strategy, seed, evaluations and the source of accuracies; metrics are hypervolume, points and,
    at the knee, cost and accuracy of each device (under the device's name). ``fronts.json`` and the ``bundles``,
    folders that ``deploy`` wrote, become artifacts. Where MLflow keeps them is MLflow's own setting.

    Raises:
        InputError: the folder holds no fronts.
        MissingDependency: mlflow is not installed.
    """
    try:
        import mlflow
    except ImportError as error:
        raise missing("mlflow-skinny", "mlflow", "Logging to MLflow") from error
    fronts = load_fronts(Path(folder))
    running = mlflow.active_run()
    run = running or mlflow.start_run(run_name=f"{fronts.space} {fronts.strategy}")
    try:
        mlflow.log_params(
            {
                "space": fronts.space,
                "strategy": fronts.strategy,
                "seed": fronts.seed,
                "evaluations": fronts.evaluations,
                "accuracy": f"{fronts.accuracy_source} ({fronts.accuracy_tier})",
            }
        )
        for front in fronts.devices:
            found = {"hypervolume": front.hypervolume, "points": float(len(front.points))}
            if front.points:
                knee = front.points[front.knee]
                accuracy, std = knee.promised
                unit = front.metric.unit
                found |= {f"knee_{front.metric.name}_{unit}": knee.latency_ms, "knee_accuracy": accuracy}
                found |= {"knee_accuracy_std": std}
                if knee.latency_std_ms is not None:
                    found |= {f"knee_{front.metric.name}_std_{unit}": knee.latency_std_ms}
            mlflow.log_metrics({f"{front.name}/{key}": value for key, value in found.items()})
            mlflow.set_tag(f"{front.name}.tier", front.tier)
        path = Path(folder)
        mlflow.log_artifact(str(path / "fronts.json" if path.is_dir() else path))
        for bundle in bundles:
            mlflow.log_artifacts(str(bundle), artifact_path=Path(bundle).name)
    finally:
        if running is None:
            mlflow.end_run()
    return str(run.info.run_id)
