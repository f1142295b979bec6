"""Model card, picture and snippets: complete, deterministic, and naming what is in the bundle."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
import yaml

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle.bundle_texts import TextFacts, make_bundle_texts
from fleetfront.deploy.bundle.card import model_card
from fleetfront.deploy.bundle.front_picture import front_picture
from fleetfront.deploy.bundle.manifest import BundleFile, Manifest, PortDescription
from fleetfront.deploy.bundle.markdown import plain
from fleetfront.deploy.contract import InputContract

LABELS = ("cat", 'dog\'s "best"')


def file(format_name: str, contract: InputContract, side: int = 24) -> BundleFile:
    layout = contract.layout("NHWC" if format_name == "tflite" else "NCHW")
    shape = (1, side, side, 3) if layout == "NHWC" else (1, 3, side, side)
    image = PortDescription("input", shape, contract.dtype, layout, Preprocessing(side).to_dict())
    output = PortDescription("probabilities" if contract.softmax else "logits", (1, 2), "float32")
    checks = {"runtime": "some 1.0", "relative_to_spread": 1e-7, "top1_agreement": 0.99, "agreement_images": 7}
    return BundleFile(f"network.{format_name}", format_name, "fp32", image, output, checks, "some 0.9")


FED = Preprocessing(24)


def made(
    contract: InputContract, formats: tuple[str, ...] = ("onnx", "tflite"), fed: Preprocessing = FED
) -> dict[str, str]:
    target = "pixel3/litert/fp32/t1/b1"
    manifest = Manifest(
        arch="k3",
        space="toy",
        weights={"random": False, "id": "abc", "source": "somewhere", "licence": "MIT", "recalibrated_on": None},
        files=tuple(file(name, contract) for name in formats),
        accuracy=({"value": 76.5, "std": 0.4, "tier": "predicted", "source": "built-in"},),
        latency=(
            {"target": target, "ms": 21.0, "std_ms": 1, "tier": "measured", "clock": "wall", "is_prediction": True},
            {"target": target, "ms": 22.5, "std_ms": 0.1, "tier": "measured", "clock": "wall"},
        ),
        labels=LABELS,
    )
    front = ("pixel3", (10.0, 21.0, 40.0), (70.0, 76.5, 80.0))
    return {
        path: content.decode()
        for path, content in make_bundle_texts(TextFacts(manifest, "pick", fed, contract, 2, front)).items()
    }


@pytest.mark.parametrize("formats", [("onnx", "tflite"), ("onnx",), ("tflite",)], ids="+".join)
@pytest.mark.parametrize(
    "contract", [InputContract(), InputContract("uint8", "bgr", True, "NHWC")], ids=["float", "u8"]
)
def test_snippets_name_what_is_there(contract: InputContract, formats: tuple[str, ...]) -> None:
    contents = made(contract, formats)
    assert contents == made(contract, formats)
    texts = {path: text for path, text in contents.items() if path.startswith("snippets/")}
    assert {"snippets/Classifier.kt", "snippets/Classifier.swift"} <= set(texts)
    for path, text in texts.items():
        assert not re.search(r"@[A-Z_]+@", text), path
        named = set(re.findall(r"network\.(\w+)", text))
        assert named
        assert named <= set(formats), path
        assert ("probabilities" if contract.softmax else "logits") in text, path
        assert '"input"' in text or "'input'" in text, path
        assert "24" in text, path
    scales = "255" in texts["snippets/Classifier.kt"]
    assert scales is (contract.input == "float")


@pytest.mark.parametrize("name", ["browser-onnx.mjs", "browser-litert.mjs"])
def test_browsers_wait_inside_functions(name: str) -> None:
    """Bundlers for older browsers refuse `await` outside of them."""
    text = made(InputContract())[f"snippets/{name}"]
    assert not re.search(r"^(?:const \w+ = )?await ", text, re.MULTILINE)
    assert "await opened" in text


def test_files_that_scale_are_fed_a_share_of_255() -> None:
    texts = {path: text for path, text in made(InputContract("unit")).items() if path.startswith("snippets/")}
    for path, text in texts.items():
        assert "/ 255" in text, path
        assert not re.search(r"- (Self\.)?(MEAN|mean)", text), path


def test_labels_survive_every_language() -> None:
    contents = made(InputContract())
    assert contents["labels.txt"].splitlines() == list(LABELS)
    namespace: dict[str, object] = {}
    line = next(line for line in contents["snippets/classify_onnx.py"].splitlines() if line.startswith("LABELS"))
    exec(line, namespace)
    assert namespace["LABELS"] == list(LABELS)


def test_the_card_says_what_matters() -> None:
    contents = made(InputContract())
    card = contents["model-card.md"]
    for needed in ("front.svg", "MIT", "NOT recalibrated", "76.50 %", "21 ms", "22.5 ms", "network.tflite", "some 0.9"):
        assert needed in card, needed
    for path in contents:
        assert path == "model-card.md" or path in card


def body(card: str) -> tuple[dict[str, Any], str]:
    """The front matter of a card, and what follows it."""
    nothing, matter, rest = card.split("---\n", 2)
    assert nothing == ""
    return yaml.safe_load(matter), rest


def test_the_card_opens_with_what_hugging_face_reads() -> None:
    contract = InputContract()
    judged = replace(file("onnx", contract), accuracy={"top1": 96.5, "drop": 0.1, "images": 359, "split": "test"})
    manifest = Manifest("k3", "toy", {"random": False, "id": "a", "licence": "mit"}, (judged, file("tflite", contract)))
    card = model_card(manifest, "pick", contract, "", ())
    matter, rest = body(card)
    assert matter["license"] == "mit"
    assert matter["pipeline_tag"] == "image-classification"
    assert matter["tags"] == ["fleetfront", "onnx", "tflite", "fp32", "toy"]
    (result,) = matter["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "name": "top-1 of network.onnx", "value": 96.5}]
    assert rest.startswith("\n# pick") or rest.startswith("# pick")
    # A promise is no result: without a file that was judged there is none.
    promised, _ = body(made(contract)["model-card.md"])
    assert "model-index" not in promised
    assert promised["license"] == "mit"


def test_the_picture_shows_every_point_and_the_pick() -> None:
    picture = front_picture("a <device>", [10, 20, 40], [70, 76, 80], (20, 76), 25)
    root = ElementTree.fromstring(picture)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3 + 1 + 1
    ringed = next(circle for circle in circles if circle.get("fill") == "none")
    assert any(circle.get("cx") == ringed.get("cx") and circle is not ringed for circle in circles)
    assert "a <device>" in "".join(root.itertext())


def test_a_front_of_one_point_has_a_picture() -> None:
    ElementTree.fromstring(front_picture("x", [5.0], [50.0], (5.0, 50.0)))


def test_points_that_differ_by_rounding_have_a_picture() -> None:
    ElementTree.fromstring(front_picture("x", [5.0, 5.000000000000001], [95.0, 95.00000000001], (5.0, 95.0)))


EVIL = "a|b\n# head <img src=x onerror=alert(1)> [x](javascript:y) `tick` \x1b[31m \ud800"


def test_underscores_and_tildes_are_shown_as_they_are() -> None:
    assert (
        plain("photos/my_cats, _x_ and __init__ ~~y~~") == "photos/my_cats, \\_x\\_ and \\_\\_init\\_\\_ \\~\\~y\\~\\~"
    )


def test_outside_text_is_no_markup_in_the_card() -> None:
    """Sources, licences, targets and names come from files and folders of others."""
    good, contract = made(InputContract()), InputContract()
    manifest = Manifest(
        arch=EVIL,
        space=EVIL,
        weights={"random": False, "id": EVIL, "source": EVIL, "licence": EVIL, "recalibrated_on": None},
        files=tuple(file(name, contract) for name in ("onnx", "tflite")),
        accuracy=({"value": 76.5, "std": 0.4, "tier": EVIL, "source": EVIL},),
        latency=(
            {"target": EVIL, "ms": 21.0, "std_ms": 1, "tier": EVIL, "clock": EVIL, "is_prediction": True},
            {"target": EVIL, "ms": None, "std_ms": None, "tier": "measured", "clock": "wall", "error": EVIL},
        ),
        labels=LABELS,
    )
    front = ("<script>\x1b\ud800", (10.0, 21.0, 40.0), (70.0, 76.5, 80.0))
    contents = make_bundle_texts(TextFacts(manifest, "pick", Preprocessing(24), contract, 2, front))
    matter, card = body(contents["model-card.md"].decode())
    assert matter["license"] == "other"
    assert matter["license_name"].startswith("a|b # head <img")
    _, fine = body(good["model-card.md"])
    assert card.count("\n") == fine.count("\n")
    outside_code = re.sub(r"`[^`]*`", "", card.replace("\\`", ""))
    assert "<" not in outside_code
    assert not re.search(r"(?<!\\)\[x", outside_code)
    assert "\x1b" not in card
    for line, was in zip(card.splitlines(), fine.splitlines(), strict=True):
        assert line.startswith("#") is was.startswith("#")
        if was.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", was)), line
    assert "<script>" not in contents["front.svg"].decode()
    ElementTree.fromstring(contents["front.svg"].decode())


def test_an_ort_file_alone_has_the_snippets_of_its_runtime() -> None:
    contents = made(InputContract(), ("ort",))
    for name in ("classify_onnx.py", "node.mjs", "browser-onnx.mjs", "Classifier.kt", "Classifier.swift"):
        assert "network.ort" in contents[f"snippets/{name}"]
    assert "network.onnx" in made(InputContract(), ("ort", "onnx"))["snippets/node.mjs"]


def test_every_language_scales_by_the_same_numbers() -> None:
    fed = Preprocessing(24, (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784))
    contents = made(InputContract(), fed=fed)
    numbers = [str(value) for value in (*fed.mean, *fed.std)]
    for path, text in contents.items():
        if path.startswith("snippets/"):
            assert all(re.search(rf"\b{re.escape(number)}f?\b", text) for number in numbers), path
