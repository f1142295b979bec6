"""Open a model card with what Hugging Face reads of it: licence, task, tags and measured accuracies, as YAML.

The keys are those of https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from typing import Any

import yaml

from fleetfront.deploy.bundle.manifest import Manifest
from fleetfront.deploy.bundle.markdown import one_line

#: Licences by the names that the hub has for them; any other is spelled out.
_LICENCES = {
    name.lower(): name.lower()
    for name in (
        "Apache-2.0",
        "MIT",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-4.0",
        "CC0-1.0",
        "GPL-3.0",
        "AGPL-3.0",
        "LGPL-3.0",
        "MPL-2.0",
        "Unlicense",
    )
}
_TASK = "image-classification"


def front_matter(manifest: Manifest, name: str) -> list[str]:
    """The lines from ``---`` to ``---``. Only accuracies of this bundle's own files are results: a promise is none."""
    licence = one_line(manifest.weights.get("licence") or "unknown")
    known = _LICENCES.get(licence.lower())
    facts: dict[str, Any] = {"license": known or ("unknown" if licence == "unknown" else "other")}
    if facts["license"] == "other":
        facts["license_name"] = licence
    formats = dict.fromkeys(file.format for file in manifest.files)
    precisions = dict.fromkeys(file.precision for file in manifest.files)
    facts |= {"pipeline_tag": _TASK, "tags": ["fleetfront", *map(one_line, (*formats, *precisions, manifest.space))]}
    results = [
        {
            "task": {"type": _TASK},
            "dataset": {"name": f"{file.accuracy['images']} held-out images", "type": "private"},
            "metrics": [
                {"type": "accuracy", "name": f"top-1 of {one_line(file.path)}", "value": float(file.accuracy["top1"])}
            ],
        }
        for file in manifest.files
        if file.accuracy.get("top1") is not None
    ]
    if results:
        facts |= {"metrics": ["accuracy"], "model-index": [{"name": one_line(name), "results": results}]}
    return ["---", *yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=10_000).splitlines(), "---", ""]
