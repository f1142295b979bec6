"""Files of networks that know something: colours by hand, digits by a short training."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.datasets import Dataset, load_images
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FORMATS, parse_formats
from fleetfront.errors import BarMissed, InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, UserImages, Weights, deploy_picks
from fleetfront.pipelines.deploy.judging import run_images
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import Supernet, smallest
from tests.knowing_supernet import knowing_supernet

BOTH = parse_formats("onnx,tflite")
COLOURS = ("blue", "green", "red")
SIDE = 12


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images with one strong channel, a folder a colour: wrong channels give wrong classes."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        (folder / name).mkdir()
        for number in range(30):
            pixels = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def strongest_channel() -> Graph:
    """The class of the strongest channel, for inputs scaled as ImageNet's: blue, green, red."""
    b = GraphBuilder("network")
    x = b.input("input", (1, 3, SIDE, SIDE), layout="NCHW")
    identity = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    x = b.conv2d(x, b.weight("stem", identity), b.weight("bias", np.zeros(3, np.float32)))
    x = b.add("flatten", [b.add("global_average_pool", [x])])
    # Undo the scaling of each channel, so that means of pixels are compared.
    scale, shift = np.diag([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    weight, bias = scale[::-1].astype(np.float32), shift[::-1].astype(np.float32)
    x = b.add("linear", [x, b.weight("v", np.ascontiguousarray(weight)), b.weight("c", bias.copy())], "logits")
    return b.build([x])


@pytest.mark.parametrize("kind", ["float", "unit", "uint8"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_swapped_channels_would_be_seen(colours: Path, tmp_path: Path, kind: str, channels: str) -> None:
    weights = Weights(None, UserImages(colours))
    contract = InputContract(kind, channels, onnx_layout="NHWC" if channels == "bgr" else "NCHW")
    recipe = Recipe(("fp32", "fp16", "int8"), contract, max_drop=0)
    network = write_network(strongest_channel(), weights, BOTH, recipe, tmp_path)
    assert network.torch_accuracy == 100
    assert network.class_names == COLOURS
    assert [file.accuracy for file in network.files] == [100] * 6
    # Fed the other way round, red is called blue.
    images = UserImages(colours).at(SIDE)
    pixels = images.images[images.split["test"]]
    fed = contract.feed(pixels, images.preprocessing)
    for file in network.files:
        session = load_runtime(file.kind.runtime).open(file.path)
        wrong = contract.as_fed(fed[:, ::-1], contract.layout(file.kind.layout))
        classes = run_images(session, wrong, 1).argmax(axis=1)
        session.close()
        assert np.mean(classes == images.targets("test")) == pytest.approx(1 / 3, abs=0.01)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_images("digits", 32)


@pytest.fixture(scope="module")
def knowing(digits: Dataset) -> Supernet:
    return knowing_supernet(ofa_mbv3_mini(), digits, epochs=4)


SPACE_ARCHS = ofa_mbv3_mini().arch_ids(ofa_mbv3_mini().sample(3, np.random.default_rng(0)))


def arch() -> str:
    space = ofa_mbv3_mini()
    return space.arch_id(smallest(space))


def test_every_precision_is_judged_on_held_out_images(tmp_path: Path, knowing: Supernet, digits: Dataset) -> None:
    precisions, narrow = ("fp32", "fp16", "int8", "w8", "w4"), ("int8", "w8", "w4")
    recipe = Recipe(precisions, InputContract(batch="batch"), max_drop=2, test_images=150)
    weights = Weights(knowing, UserImages("digits"))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path, recipe=recipe)
    assert one.error is None
    assert one.folder is not None
    manifest = read_manifest(one.folder)
    assert [(file["format"], file["precision"]) for file in manifest["files"]] == [
        (kind, precision) for precision in precisions for kind in ("onnx", "tflite")
    ]
    assert one.torch_accuracy is not None
    assert one.torch_accuracy > 80
    for file in manifest["files"]:
        assert file["accuracy"]["images"] == 150
        assert file["accuracy"]["drop"] == pytest.approx(one.torch_accuracy - file["accuracy"]["top1"])
        assert file["checks"]["passed"]
        is_narrow = file["precision"] in narrow
        assert file["checks"]["samples"] == (2 if is_narrow else 8)
        assert file["checks"]["relative_to_spread"] < (0.3 if is_narrow else 5e-3)
        assert file["checks"]["judged_by"] == ("top1_agreement" if is_narrow else "relative_to_spread")
        assert file["layout"]["needless"] == 0
        assert file["input"]["shape"][0] == "batch"
        assert file["minimum_runtime"].split()[0] in ("onnxruntime", "tflite")
    assert manifest["labels"] == list(digits.class_names)
    assert manifest["weights"]["licence"] == "none"
    measured = [row for row in manifest["accuracy"] if row["tier"] == "measured"]
    assert len(measured) == 11


def test_two_processes_write_the_same_bytes(tmp_path: Path, knowing: Supernet) -> None:
    """Nothing of a process - hash seed, folder, time - gets into a bundle, and of its threads only how torch rounds,
    which the figures of the proof show.
    """
    save_supernet(knowing, tmp_path / "mini.safetensors")
    options = ["--space", "ofa-mbv3-mini", "--arch", arch(), "--weights", str(tmp_path / "mini.safetensors")]
    options += ["--images", "digits", "--precisions", "fp32,fp16,int8,w8,w4", "--input", "uint8", "--softmax"]
    options += ["--test-images", "30", "--quiet", "--out"]
    # This process has deployed before, and its hashes are other ones.
    assert main(["deploy", *options, str(tmp_path / "here")]) == 0
    command = [sys.executable, "-m", "fleetfront.cli.main", "deploy", *options, str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outs = (tmp_path / "here", tmp_path / "there")
    found = [{str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} for out in outs]
    first, second = found
    assert len(first) >= 10 + 7
    assert first.keys() == second.keys()
    rounded = {"manifest.json", "model-card.md", "README.md", "picture.torch.bin", "patches.torch.bin"}
    assert {Path(path).name for path in first if first[path] != second[path]} <= rounded
    manifests = [json.loads(files[f"{arch()}/manifest.json"]) for files in found]
    for manifest in manifests:
        del manifest["beside"], manifest["test_vectors"]
        for file in manifest["files"]:
            for name in ("max_abs_error", "relative_to_range", "relative_to_spread", "spread_of_range", "explained"):
                del file["checks"][name]
    assert manifests[0] == manifests[1]


def test_a_drop_beyond_the_bar_fails_the_pick_and_not_the_batch(tmp_path: Path, knowing: Supernet) -> None:
    """Rounding weights to steps of a fifth, unseen, stands for a precision that loses too much."""
    onnx = FORMATS["onnx"]
    spoilt = replace(onnx, half=lambda graph: replace(graph, weights=_coarse(graph)), weights=lambda _: {})
    recipe = Recipe(("fp32", "fp16"), max_drop=1, test_images=100, spread_limits={"fp16": 1e9})
    space = ofa_mbv3_mini()
    other = space.arch_ids(space.sample(1, np.random.default_rng(0)))[0]
    weights = Weights(knowing, UserImages("digits"))
    picks = [Pick("known", arch()), Pick("unknown", other)]
    known, unknown = deploy_picks(picks, space, weights, [spoilt], tmp_path, recipe=recipe)
    assert isinstance(known.error, BarMissed)
    assert "known: network-fp16.onnx loses" in str(known.error)
    assert known.folder is not None
    assert [file["path"] for file in read_manifest(known.folder)["files"]] == ["network.onnx"]
    assert sorted(path.suffix for path in known.folder.iterdir() if "network" in path.name) == [".onnx"]
    # It never knew anything that it could lose.
    assert unknown.error is None or "loses" in str(unknown.error)


def _coarse(graph: Graph) -> dict[str, np.ndarray]:
    return {name: (np.round(array * 5) / 5).astype(array.dtype) for name, array in graph.weights.items()}


def test_max_drop_without_labelled_images_is_refused(tmp_path: Path, knowing: Supernet) -> None:
    for weights in (Weights(knowing), Weights(knowing, UserImages("digits"), labelled=False)):
        recipe = Recipe(max_drop=1)
        (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path, recipe=recipe)
        assert isinstance(one.error, InputError)
        assert "--max-drop" in str(one.error)


def test_int8_that_contradicts_torch_is_not_handed_out(tmp_path: Path, knowing: Supernet) -> None:
    def wrong(data: bytes, feeds: object) -> bytes:
        graph = ofa_mbv3_mini().subnet_graphs(smallest(ofa_mbv3_mini()))["network"][0]
        return FORMATS["onnx"].write(graph)

    kind = replace(FORMATS["onnx"], quantise=wrong, weights=lambda _: {})
    weights = Weights(knowing, UserImages("digits"))
    recipe = Recipe(("int8",), test_images=60)
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, [kind], tmp_path, recipe=recipe)
    assert isinstance(one.error, BarMissed)
    assert "torch's class" in str(one.error)


def test_narrow_files_want_enough_images(tmp_path: Path, knowing: Supernet) -> None:
    few = load_images("digits", 32, calibration=3)
    for images in (None, few):
        for precision, words in (("int8", "calibrated on"), ("w8", "judged by its classes, which takes")):
            weights, recipe = Weights(knowing, images), Recipe((precision,))
            (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path, recipe=recipe)
            assert isinstance(one.error, InputError)
            assert f"{precision} is {words} at least 8 images" in str(one.error)


def test_int8_of_a_batch_larger_than_the_calibration_images(tmp_path: Path, colours: Path) -> None:
    weights, recipe = Weights(None, UserImages(colours)), Recipe(("int8",), InputContract(batch=60))
    few = len(UserImages(colours).at(SIDE).split["calibration"])
    assert 8 <= few < 60
    network = write_network(strongest_channel(), weights, BOTH, recipe, tmp_path)
    assert [file.accuracy for file in network.files] == [100, 100]


def test_what_the_images_cannot_give_is_said_before_any_file_is_written(tmp_path: Path, colours: Path) -> None:
    for recipe in (Recipe(("fp32", "int8")), Recipe(max_drop=1)):
        for weights in (Weights(), Weights(None, UserImages(colours / "red"))):
            with pytest.raises(InputError, match=r"--images|subfolder"):
                write_network(strongest_channel(), weights, BOTH, recipe, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_broken_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = 0

    def counted(*given: object, **named: object) -> Dataset:
        nonlocal loads
        loads += 1
        raise InputError("The image cannot be read.")

    monkeypatch.setattr("fleetfront.pipelines.deploy.weights.load_images", counted)
    picks = [Pick(name, arch) for name, arch in zip("abc", SPACE_ARCHS, strict=True)]
    done = deploy_picks(picks, ofa_mbv3_mini(), Weights(None, UserImages(tmp_path)), BOTH, tmp_path / "out")
    assert [str(one.error) for one in done] == [f"{name}: The image cannot be read." for name in "abc"]
    assert loads == 1


def test_images_of_another_size_are_refused(tmp_path: Path, knowing: Supernet) -> None:
    weights = Weights(knowing, load_images("digits", 24))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path)
    assert isinstance(one.error, InputError)
    assert "24 px" in str(one.error)


def test_labels_must_match_the_classes(tmp_path: Path, knowing: Supernet, colours: Path) -> None:
    cases = {
        "3 labels for 10 classes": Weights(knowing, labels=("a", "b", "c")),
        "--unlabelled": Weights(knowing, UserImages(colours)),
    }
    for message, weights in cases.items():
        (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path)
        assert isinstance(one.error, InputError)
        assert message in str(one.error)
    renamed = Weights(knowing, UserImages(colours), labelled=False, labels=tuple("abcdefghij"))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), renamed, BOTH, tmp_path)
    assert one.error is None
    assert one.folder is not None
    assert (one.folder / "labels.txt").read_text().split() == list("abcdefghij")


def test_labels_of_another_order_are_not_taken_for_the_classes(tmp_path: Path, knowing: Supernet) -> None:
    turned = tuple("9876543210")
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), Weights(knowing, labels=turned), BOTH, tmp_path)
    assert "another order" in str(one.error)


def test_folders_are_put_in_the_order_of_the_labels(knowing: Supernet) -> None:
    """Weights that do not know their classes: the labels say in which order the network gives them."""
    nameless = Supernet(knowing.space, knowing.tensors)
    turned = tuple("9876543210")
    graph = knowing.graph(smallest(ofa_mbv3_mini()))
    plain = Weights(nameless, UserImages("digits")).labelled_images(graph)
    other = Weights(nameless, UserImages("digits"), labels=turned).labelled_images(graph)
    assert plain is not None
    assert other is not None
    assert other.class_names == turned
    assert np.array_equal(other.labels, 9 - plain.labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("Blue", "green", "red"), "'Blue' is no folder"),
        (("green", "red", "yellow"), "'yellow' is no folder"),
        (("red", "red", "green"), "folder 'blue' is no label"),
    ],
)
def test_labels_that_are_nearly_the_folders_are_refused(colours: Path, labels: tuple[str, ...], message: str) -> None:
    """Judged all the same, accuracy would be that of classes which nobody meant."""
    with pytest.raises(InputError, match=message):
        Weights(None, UserImages(colours), labels).class_names(strongest_channel())
    assert Weights(None, UserImages(colours), labels, labelled=False).class_names(strongest_channel()) == labels
    others = ("n01", "n02", "n03")
    assert Weights(None, UserImages(colours), others).class_names(strongest_channel()) == others


def test_weights_that_name_other_classes_than_they_have_are_refused(tmp_path: Path, knowing: Supernet) -> None:
    odd = Supernet(knowing.space, knowing.tensors, replace(knowing.provenance, class_names=("a", "b", "c")))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), Weights(odd), BOTH, tmp_path)
    assert "10 scores and name 3 classes" in str(one.error)


@pytest.mark.parametrize("name", ["two\nlines", "half \ud800", "\u2028", " ", "nul \0"])
def test_labels_that_no_file_can_hold_are_refused(tmp_path: Path, knowing: Supernet, name: str) -> None:
    odd = Supernet(knowing.space, knowing.tensors, replace(knowing.provenance, class_names=(name, *"123456789")))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), Weights(odd), BOTH, tmp_path)
    assert isinstance(one.error, InputError)
    assert "label" in str(one.error)


def test_odd_labels_are_the_same_everywhere(tmp_path: Path, knowing: Supernet) -> None:
    import onnx

    from tests.deploy.writers.tflite.reading import read_labels

    names = (
        "'\"\\",
        "</script>",
        "@FILE@",
        "`|*<b>",
        "$" + "{x}",
        "caf\u00e9 \u65e5\u672c",
        "\U0001f468\u200d\U0001f469",
        "%s{}",
        "#",
        "9",
    )
    odd = Supernet(knowing.space, knowing.tensors, replace(knowing.provenance, class_names=names))
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), Weights(odd), BOTH, tmp_path)
    assert one.folder is not None
    assert tuple(read_manifest(one.folder)["labels"]) == names
    assert tuple((one.folder / "labels.txt").read_text(encoding="utf-8").splitlines()) == names
    assert read_labels((one.folder / "network.tflite").read_bytes()) == names
    entries = {entry.key: entry.value for entry in onnx.load(one.folder / "network.onnx").metadata_props}
    assert tuple(json.loads(entries["labels"])) == names
    show = "import json, classify_onnx; print(json.dumps(classify_onnx.LABELS))"
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=one.folder / "snippets", capture_output=True, text=True, check=True
    )
    assert tuple(json.loads(done.stdout)) == names


def test_a_network_that_gives_no_numbers_is_refused(tmp_path: Path, knowing: Supernet) -> None:
    """A file agrees with torch on NaN, too; that is no proof."""
    huge = {**knowing.tensors, "head.classifier.bias": knowing.tensors["head.classifier.bias"] + 3e38}
    huge["head.classifier.weight"] = huge["head.classifier.weight"] * 1e38
    (one,) = deploy_picks(
        [Pick("net", arch())], ofa_mbv3_mini(), Weights(Supernet(knowing.space, huge)), BOTH, tmp_path
    )
    assert isinstance(one.error, InputError)
    assert "not finite" in str(one.error)
    assert not list(tmp_path.iterdir())


def test_a_fixed_batch_is_fed_whole(tmp_path: Path, knowing: Supernet) -> None:
    weights = Weights(knowing, UserImages("digits"))
    recipe = Recipe(("fp32", "int8"), InputContract(batch=4), test_images=30)
    (one,) = deploy_picks([Pick("net", arch())], ofa_mbv3_mini(), weights, BOTH, tmp_path, recipe=recipe)
    assert one.error is None
    assert one.folder is not None
    assert {tuple(file["input"]["shape"]) for file in read_manifest(one.folder)["files"]} == {
        (4, 3, 32, 32),
        (4, 32, 32, 3),
    }
    assert not (one.folder / "snippets").exists()


def test_duplicates_are_made_and_stored_once(tmp_path: Path) -> None:
    picks = [Pick(name, arch()) for name in ("pixel3", "pixel2", "cpu")]
    written: list[Graph] = []

    def write(graph: Graph) -> bytes:
        written.append(graph)
        return FORMATS["onnx"].write(graph)

    kind = replace(FORMATS["onnx"], write=write)
    done = deploy_picks(picks, ofa_mbv3_mini(), Weights(), [kind], tmp_path)
    files = [one.folder / "network-random-weights.onnx" for one in done if one.folder is not None]
    assert len(written) == 1
    assert len(files) == 3
    assert len({file.stat().st_ino for file in files}) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}-random-weights" for n in ("cpu", "pixel2", "pixel3")]
