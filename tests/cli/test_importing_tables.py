"""Import language models, transformers and stores by command, search them, be told what cannot be done with them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from fleetfront.profilers.store.store import Store
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured

Told = Callable[..., tuple[int, str, str]]


def shortened(source: Path, path: Path, lines: int) -> str:
    data = source.read_bytes()
    text = gzip.decompress(data) if source.suffix == ".gz" else data
    path.write_bytes(b"".join(text.splitlines(keepends=True)[: lines + 1]))
    return str(path)


def test_language_models_are_imported_and_searched(told: Told, shared_data: Path, tmp_path: Path) -> None:
    table = shortened(shared_data / "hwgpt" / "gpt_s.csv.gz", tmp_path / "gpt.csv", 400)
    code, text, err = told("import", "hwgpt", table, "--space", "hw-gpt-s", "--json", "--quiet")
    assert (code, json.loads(text)["items"]) == (0, 400), err
    searched = ("search", "--space", "hw-gpt-s", "--devices", "rtx3080", "--accuracy", f"perplexity:{table}")
    out = str(tmp_path / "fronts")
    code, text, err = told(*searched, "--strategy", "random", "--evaluations", "40", "--out", out, "--quiet")
    assert (code, "perplexity" in text, "accuracy %" in text) == (0, True, False), err
    code, _, err = told("deploy", "--front", out, "--knee", "--random-weights")
    assert (code, "nothing to measure or to deploy" in err) == (2, True)
    code, _, err = told("fit", "--device", "rtx3080", "--space", "hw-gpt-s")
    assert (code, "has no blocks whose work could be counted" in err) == (2, True)
    code, _, err = told("import", "hwgpt", table, "--space", "hw-gpt-l")
    assert (code, "no network of hw-gpt-l" in err) == (2, True)


def test_transformers_are_imported_as_three_devices(told: Told, shared_data: Path, tmp_path: Path) -> None:
    table = shortened(shared_data / "hat" / "wmt14ende_cpu_xeon_all.csv", tmp_path / "hat.csv", 300)
    code, text, err = told("import", "hat", table, "--device", "xeon", "--json", "--quiet")
    assert (code, [target.split("/")[0] for target in json.loads(text)["targets"]]) == (
        0,
        ["xeon", "xeon_encoder", "xeon_decoder"],
    ), err
    bleu = f"bleu:{shared_data / 'hat_published' / 'dynas_transformerlt_bleu.csv'}"
    searched = ("search", "--space", "hat-wmt14", "--devices", "xeon,xeon_decoder", "--accuracy", bleu)
    code, text, err = told(
        *searched, "--strategy", "random", "--evaluations", "40", "--out", str(tmp_path / "fronts"), "--quiet"
    )
    assert (code, "BLEU" in text, "19 networks tell BLEU" in err) == (0, True, True), err


def test_another_machine_s_store_is_kept_apart(told: Told, tmp_path: Path) -> None:
    other, own = tmp_path / "other.sqlite", str(tmp_path / "own.sqlite")
    with Store(other) as store:
        store.append([measured(Target("cpu", "litert")), measured(Target("R5CT10", "tflite-cpu"))])
    code, _, err = told("import", "store", str(other), "--store", own)
    assert (code, "holds measurements of cpu" in err, "--as lab" in err) == (2, True, True)
    code, text, err = told("import", "store", str(other), "--as", "lab", "--store", own, "--json")
    assert (code, json.loads(text)) == (
        0,
        {
            "devices": ["R5CT10", "lab-cpu"],
            "new": 2,
            "known": 0,
            "left_out": 0,
            "campaigns": 0,
            "held_as": [],
            "damaged": 0,
        },
    ), err
    code, _, err = told("import", "store", str(other), "--as", "a b", "--store", own)
    assert (code, "'a b-cpu' holds characters" in err) == (2, True)
    code, _, err = told("import", "store", str(tmp_path / "none"), "--store", own)
    assert (code, "none does not exist" in err) == (2, True)
    code, text, err = told("import", "store", str(other), "--same-machine", "--store", own)
    assert (code, "2 known, held here as lab-cpu." in text) == (0, True), err


def test_two_machines_do_not_share_a_name(told: Told, tmp_path: Path) -> None:
    own, stores = str(tmp_path / "own.sqlite"), [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    devices = ("cuda:0", "ssh:pi/cuda:0", "R5CT10")
    for path, gpu in zip(stores, ("H200", "A100"), strict=True):
        with Store(path) as store:
            for device in devices:
                target = Target(device, "torch")
                told_of = {"model": "Galaxy"} if device == "R5CT10" else {"gpu": gpu, "cpu": "Abacus"}
                store.add_campaign(f"{gpu}-{device}", target, "space", "identity", {}, told_of)
                store.append([measured(target, campaign=f"{gpu}-{device}")])
    code, _, err = told("import", "store", str(stores[0]), "--store", own)
    assert (code, "cuda:0, ssh:pi/cuda:0, which means another machine" in err) == (2, True), err
    for _ in range(2):
        code, text, err = told("import", "store", str(stores[0]), "--as", "lab", "--store", own)
        assert (code, "R5CT10, lab-cuda:0, lab-pi-cuda:0" in text) == (0, True), err
    code, _, err = told("import", "store", str(stores[1]), "--as", "lab", "--store", own)
    assert (code, "lab-cuda:0 is H200 here, and A100 there." in err, "another --as" in err) == (2, True, True), err
    code, text, err = told("import", "store", str(stores[1]), "--as", "lab2", "--store", own)
    assert (code, "lab2-cuda:0, lab2-pi-cuda:0: 3 rows new" in text) == (0, True), err
    # What was taken in under a name keeps it apart from another machine's of that name.
    code, _, err = told("import", "store", own, "--store", str(tmp_path / "third.sqlite"))
    assert code == 0, err
    other = tmp_path / "other.sqlite"
    assert told("import", "store", str(stores[1]), "--as", "lab", "--store", str(other))[0] == 0
    code, _, err = told("import", "store", str(other), "--store", own)
    assert (code, "give it a name with --as" in err.lower()) == (2, True), err
    code, text, err = told("import", "store", str(other), "--same-machine", "--store", own)
    assert (code, "3 known, held here as lab2-cuda:0, lab2-pi-cuda:0." in text) == (0, True), err
