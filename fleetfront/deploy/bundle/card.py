"""The model card: what a bundle holds, how good and how fast it is, and how it was checked, as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleetfront.deploy.bundle.front_matter import front_matter
from fleetfront.deploy.bundle.manifest import BundleFile, Manifest, PortDescription
from fleetfront.deploy.bundle.markdown import code, plain
from fleetfront.deploy.contract import InputContract
from fleetfront.quantities import format_number


def model_card(manifest: Manifest, name: str, contract: InputContract, picture: str, beside: Sequence[str]) -> str:
    """Markdown of a bundle called ``name``.

    Args:
        manifest: of the bundle.
        name: of the pick.
        contract: how an app talks to its files.
        picture: path of the front's picture in the bundle; empty if there is none.
        beside: paths of what else lies in the bundle.
    """
    weights = manifest.weights
    lines = [
        *front_matter(manifest, name),
        f"# {plain(name)}",
        "",
        f"Image classifier {code(manifest.arch)} of the family {code(manifest.space)}, for "
        f"{len(manifest.labels) or 'an unknown number of'} classes.",
        "",
    ]
    if weights.get("random"):
        lines += ["**Its weights are random numbers: it has the speed of a real network and knows nothing.**", ""]
    if picture:
        lines += [f"![accuracy over latency, this network marked]({picture})", ""]
    lines += ["## Files", "", *_files(manifest.files), "", "## Feeding it", "", *_feeding(manifest, contract), ""]
    lines += ["## Accuracy", "", *_accuracy(manifest), "", "## Latency", "", *_latency(manifest), ""]
    lines += ["## Weights", "", *_weights(weights), "", "## Checks", "", *_checks(manifest.files), ""]
    if beside:
        lines += ["## Beside the files", "", *(f"- {code(path)}" for path in beside), ""]
    return "\n".join(lines)


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        "| " + " | ".join(headers) + " |",
        "|" + "---|" * len(headers),
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
    ]


def _files(files: Sequence[BundleFile]) -> list[str]:
    return _table(
        ("file", "precision", "input", "output", "runs on"),
        (
            (
                code(file.path, in_table=True),
                file.precision,
                f"{_port(file.input)} {file.input.layout}",
                _port(file.output),
                f"{file.minimum_runtime} or newer",
            )
            for file in files
        ),
    )


def _port(port: PortDescription) -> str:
    return f"{code(port.name, in_table=True)} {port.dtype} {list(port.shape)}"


def _feeding(manifest: Manifest, contract: InputContract) -> list[str]:
    preprocessing = manifest.files[0].input.preprocessing if manifest.files else {}
    side, share = preprocessing.get("size"), preprocessing.get("crop_share")
    order = contract.channels.upper()
    cut = (
        "Squeeze the image" if share == 1.0 else f"Crop the middle {share:g} of the image's shorter side and resize it"
    )
    lines = [f"{cut} to {side} x {side} pixels, channels in the order {order}."]
    if contract.input == "uint8":
        lines.append("Feed the bytes as they are: the files scale them.")
    elif contract.input == "unit":
        lines.append("Feed `value / 255`: the files have mean and standard deviation inside.")
    else:
        lines.append(
            f"Then feed `(value / 255 - mean) / std` with mean {list(preprocessing.get('mean', ()))} and std "
            f"{list(preprocessing.get('std', ()))}, both in the order RGB."
        )
        if len(set(preprocessing.get("mean", ()))) > 1 or len(set(preprocessing.get("std", ()))) > 1:
            lines.append(
                "MediaPipe Tasks scales all channels alike, and refuses the file: take `--input unit` or `uint8`."
            )
    lines.append("The output is probabilities." if contract.softmax else "The output is logits; the largest wins.")
    return lines


def _accuracy(manifest: Manifest) -> list[str]:
    if not manifest.accuracy:
        return ["Unknown: no labelled images were given."]
    rows = []
    for row in manifest.accuracy:
        where = plain(" ".join(str(row[key]) for key in ("precision", "in") if row.get(key)) or "the network")
        spread = f" +-{row['std']:.2g}" if row.get("std") else ""
        held_out = ", held-out images" if row.get("split") == "test" else ""
        rows.append(
            (where, f"{row['value']:.2f} %{spread}", plain(row["tier"]), plain(row.get("source", "")) + held_out)
        )
    lines = _table(("of", "accuracy", "tier", "source"), rows)
    drops = [(file.path, file.accuracy["drop"]) for file in manifest.files if file.accuracy.get("drop") is not None]
    return [*lines, "", *(f"- {code(path)} is {drop:.2f} points below fp32 in torch." for path, drop in drops)]


def _latency(manifest: Manifest) -> list[str]:
    if not manifest.latency:
        return ["Neither predicted nor measured."]
    rows = []
    for row in manifest.latency:
        what = "predicted" if row.get("is_prediction") else "measured, this very file"
        if row.get("is_of_files") is False:
            what += ", in a runtime that opens none of these files"
        value = f"{row['ms']:.4g} ms" if row.get("ms") is not None else f"failed: {plain(row.get('error', ''))}"
        spread = f" +-{row['std_ms']:.2g}" if row.get("std_ms") else ""
        said = (plain(row.get(key, "")) for key in ("tier", "clock"))
        rows.append((code(row["target"], in_table=True), what, value + spread, *said))
    table = _table(("target", "what", "latency", "tier", "clock"), rows)
    return [*table, *_promises(manifest), *_app_times(manifest)]


def _promises(manifest: Manifest) -> list[str]:
    """The 90 % intervals that were promised of what was measured, and whether they held."""
    rows = []
    for row in manifest.latency:
        for when, title in (("as_profiled", "whenever it is run"), ("today", "in the sitting of the measurement")):
            promise = (row.get("promises") or {}).get(when)
            if promise:
                span = f"{promise['low_ms']:.4g} to {promise['high_ms']:.4g} ms"
                held = {True: "held", False: "missed", None: "not judged"}[promise["holds"]]
                rows.append((code(row["target"], in_table=True), title, span, held))
    said = {str(row["target"]): _not_promised(row) for row in manifest.latency if _not_promised(row)}
    lines = [
        f"- {code(target)}: nothing is promised for whenever it is run: {plain(why)}." for target, why in said.items()
    ]
    table = ["", *_table(("target", "promised, 90 %", "interval", "measured"), rows)] if rows else []
    return [*table, *(["", *lines] if lines else [])]


def _not_promised(row: Mapping[str, Any]) -> str:
    return str(row.get("not_promised") or (row.get("promises") or {}).get("not_promised") or "")


def _app_times(manifest: Manifest) -> list[str]:
    """The times that an app feels of the files; plan with these."""
    rows = [
        (code(row["target"], in_table=True), *(format_number(ms) for ms in (row.get("cold_start_ms"), *_of_app(wall))))
        for row in manifest.latency
        if (wall := row.get("wall"))
    ]
    if not rows:
        return []
    header = ("target", "cold start", "warm median", "90 % of runs within", "sustained mean")
    return ["", "What an app feels, in ms of the wall clock; plan with the 90 %:", "", *_table(header, rows)]


def _of_app(wall: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(wall.get(name) for name in ("median_ms", "p90_ms", "mean_ms"))


def _weights(weights: Mapping[str, Any]) -> list[str]:
    if weights.get("random"):
        return [plain(weights["source"])]
    lines = [
        f"- source: {plain(weights.get('source') or 'unknown')}",
        f"- licence: {plain(weights.get('licence', 'unknown'))}",
        f"- SHA-256 of the weights: {code(weights.get('id', ''))}",
    ]
    if "recalibrated_on" not in weights:
        return lines
    used = weights["recalibrated_on"]
    if used:
        return [*lines, f"- batch-norm recalibrated on {plain(used['source'])} (SHA-256 {code(used['sha256'])})"]
    return [*lines, "- batch-norm was NOT recalibrated: expect less accuracy than the family offers"]


def _checks(files: Sequence[BundleFile]) -> list[str]:
    rows = []
    for file in files:
        checks = file.checks
        agreement = checks.get("top1_agreement")
        same = "-" if agreement is None else f"{100 * agreement:.1f} % of {checks.get('agreement_images', 0)}"
        layout = file.layout
        rows.append(
            (
                code(file.path, in_table=True),
                checks.get("runtime", ""),
                f"{checks.get('relative_to_spread', float('nan')):.1e}",
                same,
                f"{layout.get('transposes', '-')} / {layout.get('casts', '-')} / {layout.get('needless', '-')}",
                ", ".join(layout.get("undelegated", ())) or "none",
            )
        )
    headers = (
        "file",
        "run in",
        "off from torch, share of what inputs change",
        "torch's class",
        "transposes / casts / needless",
        "left by delegates",
    )
    return _table(headers, rows)
