"""``search --precisions`` says of each device what it knows, and warns of nothing that is not so."""

from collections.abc import Callable

import numpy as np

from fleetfront.workspace import Workspace
from tests.pipelines.test_search_precisions import PLAIN, profile


def test_each_device_says_what_it_knows(told: Callable[..., tuple[int, str, str]]) -> None:
    place = Workspace.default()
    for precision, device, seed in (("fp32", "phone", 0), ("int8", "phone", 1), ("fp32", "board", 2)):
        profile(place, precision, seed, device=device)
    networks = dict.fromkeys(PLAIN.arch_ids(PLAIN.sample(30, np.random.default_rng(0))))
    table = place.root / "accuracies.csv"
    table.write_text("\n".join(["arch,accuracy", *(f"{arch},{70 + n}" for n, arch in enumerate(networks) if n < 25)]))
    words = ("--space", PLAIN.name, "--accuracy", f"csv:{table}", "--out", str(place.root / "fronts"))
    code, said, err = told("search", "--devices", "phone,phone/int8,board", *words, "--precisions", "fp32,int8")
    assert code == 0, err
    assert "accuracies are of networks in float" not in err
    assert "board: it has no model in int8, so its front is of fp32 files alone." in err
    for name, alone in (("phone-int8", "int8"), ("board", "fp32")):
        assert f"The front of {name} is of {alone} files alone." in said + err
    code, _, err = told("search", "--device", "phone/int8", *words, "--precisions", "fp32,int8")
    assert (code, "phone-int8 is named with its precision, int8" in err) == (2, True), err
