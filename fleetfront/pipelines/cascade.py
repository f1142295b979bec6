"""Hold two deployed networks together as a cascade: the small one answers where it is sure, else the large one, too.

After ENAS4D: easy images need less network. Both files are run on the user's labelled images. Thresholds are chosen on
the validation images, and what they give is stated on the held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Dataset, Preprocessing, Split, load_images
from fleetfront.deploy.bundle.manifest import MANIFEST, read_manifest
from fleetfront.deploy.bundle.received import read_received
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.deploy.proof import log_probabilities
from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.deploy.records import is_timed_on
from fleetfront.predictors.accuracy.chosen_classes import only_images
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import FloatArray
from fleetfront.runtimes.run_apart import run_apart
from fleetfront.targets import Target

#: Shares of the validation images that are handed on to the large network.
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
#: Seconds for all images of one file.
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One file on labelled images.

    Attributes:
        ms: latency of one inference on each target, by the manifest; measured rows before predictions.
        tiers: target -> where that latency comes from.
        probabilities: of the ``validation`` and ``test`` images, float64[n, classes] each.
    """

    path: Path
    ms: Mapping[str, float]
    tiers: Mapping[str, str]
    probabilities: Mapping[Split, FloatArray]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CascadeRow:
    """One threshold, on held-out images.

    Attributes:
        threshold: the small network's answer stands where its largest probability is at least so high.
        share: of images that the large network is asked about, too.
        accuracy, accuracy_std: percent; of that many images.
        mean_ms: of one image, both networks run where the large one is asked.
    """

    threshold: float
    share: float
    accuracy: float
    accuracy_std: float
    mean_ms: float


@dataclass(frozen=True, slots=True)
class Cascade:
    """Two networks together on one target.

    Attributes:
        small, large: (path, ms, accuracy on the held-out images) of each alone.
        worst_ms: of an image about which both are asked.
        rows: by ascending threshold.
        chosen: the row of the lowest mean latency that is as accurate as the large network alone on the validation
            images, and faster than it on these and the held-out ones; None if there is none.
        images: held-out ones.
    """

    target: str
    tier: str
    small: tuple[Path, float, float]
    large: tuple[Path, float, float]
    worst_ms: float
    rows: tuple[CascadeRow, ...]
    chosen: int | None
    images: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        ends = {"small": self.small, "large": self.large}
        alone = {name: {"path": str(p), "ms": ms, "accuracy": top} for name, (p, ms, top) in ends.items()}
        names = CascadeRow.__slots__
        return {
            "schema": "fleetfront.cascade/1",
            "target": self.target,
            "tier": self.tier,
            "images": self.images,
            **alone,
            "worst_ms": self.worst_ms,
            "rows": [{name: getattr(row, name) for name in names} for row in self.rows],
            "chosen": self.chosen,
        }


def compare_cascade(
    first: Path, second: Path, images: str, target: str | None = None, *, progress: Progress = SILENT
) -> Cascade:
    """Run two deployed files on labelled images and hold them together; the faster of them is asked first.

    Args:
        first: a model file inside a bundle, or a bundle, of which the first file is taken.
        second: another one.
        images: a folder with one subfolder a class of the networks, or ``digits``.
        target: of whose latencies both manifests tell; by default the first such, measured before predicted.
        progress: counts files.

    Raises:
        InputError: no such file, of images without the networks' classes, or no target in common.
        FileError: a bundle is damaged.
        MissingDependency: a runtime is not installed.
    """
    progress.start("Running both networks on the images", 2)
    judged: list[Judged] = []
    labels: dict[Split, NDArray[np.int64]] = {}
    for path in (first, second):
        one, labels = _judge(path, images)
        judged.append(one)
        progress.advance(1, path.name)
    progress.finish()
    if judged[0].classes != judged[1].classes:
        raise InputError("The two files answer with different classes.", "Deploy both for the same --classes.")
    chosen = _target(judged, target)
    small, large = sorted(judged, key=lambda one: one.ms[chosen])
    tiers = {one.tiers[chosen] for one in judged}
    return hold_together(small, large, labels, chosen, " and ".join(sorted(tiers)))


def hold_together(
    small: Judged, large: Judged, labels: Mapping[Split, NDArray[np.int64]], target: str, tier: str
) -> Cascade:
    """The cascade of two judged networks; ``labels`` int64[n] of the ``validation`` and ``test`` images."""
    validation, test = Split.VALIDATION, Split.TEST
    sure = small.probabilities[validation].max(axis=1)
    thresholds = [_threshold(sure, share) for share in SHARES]
    ms_small, ms_large = small.ms[target], large.ms[target]

    def row(threshold: float, split: Split) -> CascadeRow:
        asked = small.probabilities[split].max(axis=1) < threshold
        classes = np.where(asked, large.probabilities[split].argmax(1), small.probabilities[split].argmax(1))
        right = int((classes == labels[split]).sum())
        count, share = len(classes), float(asked.mean())
        # Laplace's rule keeps the deviation of a perfect score above zero.
        smooth = (right + 1) / (count + 2)
        std = 100 * float(np.sqrt(smooth * (1 - smooth) / count))
        return CascadeRow(threshold, share, 100 * right / count, std, ms_small + share * ms_large)

    seen = [row(threshold, validation) for threshold in thresholds]
    alone = _accuracy(large, labels, validation)
    rows = tuple(row(threshold, test) for threshold in thresholds)
    # Time depends on no label: what is no faster on the held-out images is not called so.
    good = [i for i, one in enumerate(seen) if one.accuracy >= alone and max(one.mean_ms, rows[i].mean_ms) < ms_large]
    return Cascade(
        target,
        tier,
        (small.path, ms_small, _accuracy(small, labels, test)),
        (large.path, ms_large, _accuracy(large, labels, test)),
        ms_small + ms_large,
        rows,
        min(good, key=lambda i: seen[i].mean_ms) if good else None,
        len(labels[test]),
    )


def _threshold(sure: FloatArray, share: float) -> float:
    """The threshold under which this share of images lies."""
    return 0.0 if share == 0 else float(np.quantile(sure, share)) if share < 1 else float(np.nextafter(1.0, 2.0))


def _accuracy(one: Judged, labels: Mapping[Split, NDArray[np.int64]], split: Split) -> float:
    return 100 * float((one.probabilities[split].argmax(axis=1) == labels[split]).mean())


def _target(judged: Sequence[Judged], wanted: str | None) -> str:
    """The target on which both are compared."""
    first, second = judged
    common = [target for target in first.ms if target in second.ms]
    if not common:
        raise InputError(
            f"There is no target of which the manifests of both {first.path} and {second.path} tell a latency.",
            "Deploy both from one front, or with --measure.",
        )
    if wanted is not None and wanted not in common:
        raise unknown("target of both files", wanted, common)
    common.sort(key=lambda target: [one.tiers[target] != "measured" for one in judged])
    return wanted or common[0]


def _judge(path: Path, source: str) -> tuple[Judged, dict[Split, NDArray[np.int64]]]:
    """One file's probabilities and latencies, and the labels of the images as it numbers the classes."""
    folder = path if path.is_dir() else path.parent
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{path} is in no bundle: {folder} has no {MANIFEST}.", "Name a file that deploy wrote.")
    read_received(folder)
    manifest = read_manifest(folder)
    files = {file["path"]: file for file in manifest["files"]}
    name = next(iter(files)) if path.is_dir() else path.name
    if name not in files:
        raise unknown(f"file of {folder}", name, files)
    file, names = files[name], tuple(manifest["labels"])
    kind = ALL_FORMATS.get(file["format"])
    if kind is None or not names or file.get("contract", {}).get("batch", 1) != 1:
        raise InputError(
            f"{folder / name} is no image classifier of named classes that takes one image at a time.",
            "Deploy it from a search, with --images.",
        )
    images = _images(source, file["input"], names)
    contract = InputContract(**{**file["contract"], "onnx_layout": file["input"]["layout"]})
    splits = (Split.VALIDATION, Split.TEST)
    pixels = np.concatenate([images.images[images.split[split]] for split in splits])
    fed = contract.as_fed(contract.feed(pixels, images.preprocessing), file["input"]["layout"])
    feeds = [{file["input"]["name"]: image[None]} for image in fed]
    answers = run_apart(folder / name, kind.runtime, feeds, _LONGEST_S)
    outputs = np.concatenate([answer[file["output"]["name"]] for answer in answers]).astype(np.float64)
    given = outputs if contract.softmax else np.exp(log_probabilities(outputs.astype(np.float32))).astype(np.float64)
    count = len(images.split[Split.VALIDATION])
    rows = [row for row in manifest["latency"] if row.get("ms") and _suits(row["target"], file)]
    rows.sort(key=lambda row: not row.get("is_prediction"))
    judged = Judged(
        folder / name,
        {row["target"]: row["ms"] for row in rows},
        {row["target"]: row["tier"] for row in rows},
        dict(zip(splits, (given[:count], given[count:]), strict=True)),
        names,
    )
    return judged, {split: images.targets(split) for split in splits}


def _suits(target: str, file: Mapping[str, Any]) -> bool:
    """Tell whether a latency on a target is this file's: of its runtime and precision."""
    parsed = Target.parse(target)
    # What is predicted is predicted for the network in fp32; imported tables do not say theirs.
    precision = "fp32" if parsed.precision == "unknown" else parsed.precision
    return precision == file["precision"] and is_timed_on(parsed, ALL_FORMATS[file["format"]], parsed.precision)


def _images(source: str, described: Mapping[str, Any], names: tuple[str, ...]) -> Dataset:
    """The labelled images of the network's classes, as it wants them."""
    fields = described["preprocessing"]
    mean, std = (tuple(map(float, fields[name])) for name in ("mean", "std"))
    wanted = Preprocessing(int(fields["size"]), mean, std, float(fields.get("crop_share", 1.0)))
    images = load_images(source, wanted.size, preprocessing=wanted)
    if set(names) < set(images.class_names):
        images = only_images(images, names)
    if images.class_names != names:
        raise InputError(
            f"The images are of the classes {', '.join(images.class_names[:5])}, ..., the file's of "
            f"{', '.join(names[:5])}, ...",
            "Give --images FOLDER with one subfolder a class of the network, in its order.",
        )
    return images
