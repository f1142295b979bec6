"""Hold what files and modules are predicted to take on devices, and show it as a table."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetfront.errors import MissingDependency
from fleetfront.predictors.operators.estimates import OperatorPart
from fleetfront.quantities import Tier
from fleetfront.targets import Target

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """One inference of one file on one target.

    Attributes:
        file: the path as given, or the module's name.
        sha256: of the file's bytes; of the graph for a module.
        device: as the user may type it.
        target: with the precision of the file, and the batch that its inputs make.
        known_share: of the time that lies in operators the model knows, 0 to 1, if all others take the most that they
            may; 1 of a measured file.
        operators: in the order of execution; empty of a measured file. What they leave of the latency is what running
            anything costs.
        warnings: what to keep in mind.
    """

    file: str
    sha256: str
    device: str
    target: Target
    latency_ms: float
    latency_std_ms: float
    tier: Tier
    known_share: float
    operators: tuple[OperatorPart, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rest_ms(self) -> float:
        """The part of no operator: what running anything costs; 0 where there are no parts."""
        return self.latency_ms - sum(part.ms for part in self.operators) if self.operators else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "device": self.device,
            "target": str(self.target),
            "latency_ms": self.latency_ms,
            "latency_std_ms": self.latency_std_ms,
            "tier": self.tier.value,
            "known_share": self.known_share,
            "operators": [
                {
                    "name": part.name,
                    "kind": part.kind,
                    "ms": part.ms,
                    "known": part.is_known,
                    "fused": list(part.fused),
                    "fused_in_part": list(part.partly),
                }
                for part in self.operators
            ],
            "rest_ms": self.rest_ms,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file has no prediction on a device, and what to do.

    Attributes:
        file: the path as given, or the module's name.
        device: as it was asked for; None where it is not about one, as a file that cannot be read.
    """

    file: str
    device: str | None
    error: str
    remedy: str = ""

    def __str__(self) -> str:
        said = f"{self.device}: {self.error}" if self.device else self.error
        return f"{said.rstrip('.')}. {self.remedy}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "file": self.file,
            "device": self.device,
            "latency_ms": None,
            "error": self.error,
            "remedy": self.remedy,
        }


class Predictions(Sequence[FilePrediction]):
    """Predictions of one or several files, and why there are none for some devices (``refused``)."""

    def __init__(self, rows: Iterable[FilePrediction], refused: Iterable[Refusal] = ()) -> None:
        self._rows, self.refused = tuple(rows), tuple(refused)

    @property
    def refusals(self) -> tuple[str, ...]:
        """The refusals in words."""
        return tuple(map(str, self.refused))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for ``--json``, those of refusals last."""
        return [*(row.to_json() for row in self._rows), *(one.to_json() for one in self.refused)]

    def to_frame(self) -> pandas.DataFrame:
        """A table, a row a prediction. Raises MissingDependency without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise MissingDependency(
                "pandas, which makes tables, is not installed.", "Run: pip install pandas"
            ) from error
        plain = (row.to_json() for row in self._rows)
        return pandas.DataFrame([{k: v for k, v in row.items() if k != "operators"} for row in plain])

    def _repr_html_(self) -> str:
        """Show a table in a notebook."""
        rows = [
            f"<tr><td>{html.escape(row.file)}</td><td>{html.escape(row.device)}</td><td>{row.latency_ms:.4g} &plusmn; "
            f"{row.latency_std_ms:.2g}</td><td>{row.tier.value}</td><td>{row.known_share:.0%}</td></tr>"
            for row in self._rows
        ]
        head = "<tr><th>file</th><th>device</th><th>ms</th><th>tier</th><th>known</th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"
