"""Keras models and SavedModels as bundles, converted by a real TensorFlow in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.errors import InputError, MissingDependency
from fleetfront.pipelines.deploy.export_keras import ENVIRONMENT, KerasNetwork, export_keras
from fleetfront.runtimes.catalogue import runtime_for_file

needs_tensorflow = pytest.mark.skipif(
    ENVIRONMENT not in os.environ, reason=f"{ENVIRONMENT} names no Python with tensorflow"
)

MODELS = """
import sys
import keras
from keras import layers

keras.utils.set_random_seed(1)
image = keras.Input((16, 16, 3), name="image")
x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, activation="relu")(image))
x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
one = keras.Model(image, layers.Dense(5)(x))
one.save(sys.argv[1] + "/one.keras")
one.export(sys.argv[1] + "/saved")
a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
both = layers.Concatenate()([a, b])
keras.Model({"a": a, "b": b}, [layers.Dense(3)(a), layers.Dense(2)(both)]).save(sys.argv[1] + "/two.keras")
steps = keras.Input((None, 4), name="steps")
keras.Model(steps, layers.Dense(2)(steps)).save(sys.argv[1] + "/open.keras")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [os.environ[ENVIRONMENT], "-c", MODELS, str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    return folder


@needs_tensorflow
@pytest.mark.parametrize(("model", "inputs", "outputs"), [("one.keras", 1, 1), ("two.keras", 2, 2), ("saved", 1, 1)])
def test_a_model_becomes_a_proven_bundle(models: Path, tmp_path: Path, model: str, inputs: int, outputs: int) -> None:
    done = export_keras(KerasNetwork(models / model, "net", "MIT"), tmp_path)
    assert done.error is None
    assert done.folder is not None
    manifest = read_manifest(done.folder)
    (file,) = manifest["files"]
    assert (len(file["inputs"]), len(file["outputs"])) == (inputs, outputs)
    assert manifest["made_with"]["tensorflow"]
    assert manifest["weights"]["licence"] == "MIT"
    assert file["checks"]["relative_to_spread"] < 1e-4
    assert (file["checks"]["samples"], file["checks"]["against"]) == (4, "TensorFlow")
    session = runtime_for_file(done.folder / file["path"]).open(done.folder / file["path"])
    fed = {port.name: np.ones(port.shape, port.dtype) for port in session.inputs}
    assert len(session.run(fed)) == outputs
    session.close()
    assert main(["verify", str(done.folder), "--quiet"]) == 0
    assert "TensorFlow gives" in (done.folder / "test-vectors" / "README.md").read_text()


@needs_tensorflow
def test_sizes_that_nobody_named_are_not_guessed(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="steps leaves sizes open"):
        export_keras(KerasNetwork(models / "open.keras", "net"), tmp_path)
    (tmp_path / "damaged.keras").write_bytes(b"no zip")
    with pytest.raises(InputError, match="does not convert"):
        export_keras(KerasNetwork(tmp_path / "damaged.keras", "net"), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["damaged.keras"]


def test_without_tensorflow_the_way_to_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    (tmp_path / "one.keras").write_bytes(b"")
    with pytest.raises(MissingDependency, match="no tensorflow") as found:
        export_keras(KerasNetwork(tmp_path / "one.keras", "net"), tmp_path / "out")
    assert ENVIRONMENT in found.value.remedy
    with pytest.raises(InputError, match="did not run"):
        export_keras(KerasNetwork(tmp_path / "one.keras", "net", python="/no/such/python"), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Name one network"),
        (["--torch", "a.py:b", "--keras", "m.keras"], "Name one network"),
        (["--keras", "m.txt"], "is no Keras model"),
        (["--keras", "m.keras"], "There is no m.keras"),
        (["--keras", "m.keras", "--images", "digits"], "--images is for image classifiers"),
        (["--keras", "m.keras", "--example", "x.npz"], "--example is for --torch"),
    ],
)
def test_wrong_usage_is_said(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *options]) == 2
    assert said in capsys.readouterr().err
