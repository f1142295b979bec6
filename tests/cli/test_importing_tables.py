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
        {"devices": ["R5CT10", "lab-cpu"], "new": 2, "known": 0, "left_out": 0, "campaigns": 0},
    ), err
    code, _, err = told("import", "store", str(other), "--as", "a b", "--store", own)
    assert (code, "'a b-cpu' holds characters" in err) == (2, True)
    code, _, err = told("import", "store", str(tmp_path / "none"), "--store", own)
    assert (code, "none does not exist" in err) == (2, True)
    code, text, err = told("import", "store", str(other), "--same-machine", "--store", own)
    assert (code, "2 known" in text) == (0, True), err
