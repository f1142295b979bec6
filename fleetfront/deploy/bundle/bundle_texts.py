"""Write what lies in a bundle beside the model files: labels, model card, picture of the front, snippets of code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle.card import model_card
from fleetfront.deploy.bundle.fill_snippets import fill_snippets
from fleetfront.deploy.bundle.front_picture import front_picture
from fleetfront.deploy.bundle.manifest import Manifest
from fleetfront.deploy.bundle.vectors import FOLDER, README, Vectors, describe_vectors
from fleetfront.deploy.contract import InputContract

LABELS = "labels.txt"
CARD = "model-card.md"
PICTURE = "front.svg"
OPERATORS = "required_operators.config"


@dataclass(frozen=True, slots=True)
class TextFacts:
    """The facts that they are made from.

    Attributes:
        manifest: of the bundle.
        name: of the pick.
        preprocessing: how an image becomes the network's input.
        contract: how an app talks to the files.
        classes: of the network.
        front: device, latencies in ms and accuracies in percent of the front that the pick stands on, if any.
        ort_files: the bundle's ``.ort`` files by name.
        vectors: the bundle's test vectors, which it may not have.
    """

    manifest: Manifest
    name: str
    preprocessing: Preprocessing
    contract: InputContract
    classes: int
    front: tuple[str, Sequence[float], Sequence[float]] | None = None
    ort_files: Mapping[str, Path] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=Vectors)


def make_bundle_texts(made_from: TextFacts) -> dict[str, bytes]:
    """Path in the bundle -> content. Equal arguments give equal bytes."""
    manifest = made_from.manifest
    contents: dict[str, bytes] = {}
    if manifest.labels:
        contents[LABELS] = "".join(f"{label}\n" for label in manifest.labels).encode()
    picture = _picture(made_from)
    if picture:
        contents[PICTURE] = picture.encode()
    if made_from.vectors.rows:
        told = describe_vectors(made_from.vectors, manifest.labels, made_from.contract.softmax)
        contents |= {**made_from.vectors.contents, README: told.encode()}
    contents |= {
        path: text.encode()
        for path, text in fill_snippets(
            manifest.files, made_from.preprocessing, made_from.contract, manifest.labels
        ).items()
    }
    for name, path in made_from.ort_files.items():
        from fleetfront.deploy.writers.ort.writer import required_operators

        contents[f"{Path(name).stem}.{OPERATORS}"] = required_operators(path.read_bytes())
    # Of the test vectors their own page tells.
    beside = sorted(path for path in contents if not path.startswith(f"{FOLDER}/") or path == README)
    card = model_card(manifest, made_from.name, made_from.contract, PICTURE if picture else "", beside)
    contents[CARD] = card.encode()
    return contents


def _picture(made_from: TextFacts) -> str:
    if made_from.front is None:
        return ""
    device, latency_ms, accuracy = made_from.front
    rows = [row for row in made_from.manifest.latency if row.get("is_prediction")]
    promised = float(rows[0]["ms"]) if rows else None
    value = made_from.manifest.accuracy[0]["value"] if made_from.manifest.accuracy else None
    target = str(rows[0]["target"]) if rows else ""
    measured = [
        float(row["ms"])
        for row in made_from.manifest.latency
        if not row.get("is_prediction") and row.get("ms") is not None and str(row["target"]) == target
    ]
    if promised is None or value is None:
        return ""
    return front_picture(device, latency_ms, accuracy, (promised, float(value)), measured[0] if measured else None)
