import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from fleetfront.errors import MissingDependency
from fleetfront.pipelines.packages import need_extras, optional_packages
from fleetfront.runtimes import facts


def _required() -> dict[str, str]:
    """Distribution -> an extra that brings it, of what the project's own extra ``all`` consists of."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    parts = everything.partition("[")[2].rstrip("]").split(",")
    return {re.split(r"[\[<>=]", line)[0].lower(): part for part in reversed(parts) for line in extras[part]}


def test_every_package_that_an_extra_brings_is_known_with_its_extra() -> None:
    required = _required()
    known = {package.name: package.extra for package in optional_packages()}
    assert required.keys() == known.keys()
    assert set(known.values()) == set(required.values())
    assert known["jinja2"] == "report"


def _only(monkeypatch: pytest.MonkeyPatch, *present: str) -> None:
    def version(name: str) -> str:
        if name not in present:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(facts, "version", version)


def test_all_that_is_missing_is_said_at_once_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "torch", "safetensors", "jinja2")
    with pytest.raises(MissingDependency) as caught:
        need_extras(("torch", "report", "demo"), "The whole story")
    assert caught.value.message == (
        "The whole story needs packages that are not installed: vl-convert-python, scikit-learn, pillow."
    )
    assert caught.value.remedy == "Run: pip install 'fleetfront[report,demo]'"
    need_extras(("torch",), "Training")


def test_the_gpu_build_of_a_package_counts_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "onnxruntime-gpu")
    found = {package.name: package.version for package in optional_packages()}
    assert found["onnxruntime"] == "1.0"
    assert found["onnx"] is None


def test_stand_ins_are_missed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "ai-edge-litert")
    assert not {"tflite-runtime", "tensorflow-cpu"} & {package.name for package in optional_packages()}
    _only(monkeypatch, "tensorflow")
    assert {package.name: package.version for package in optional_packages()}["tensorflow-cpu"] == "1.0"
