import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w10, ofa_mbv3_w12

torch = pytest.importorskip("torch")

from fleetfront.spaces.supernet.checkpoints import load_supernet, save_supernet  # noqa: E402
from fleetfront.spaces.supernet.subnets import Provenance, Supernet, untrained  # noqa: E402

MINI = ofa_mbv3_mini()


@pytest.fixture(scope="module")
def state(shared_data) -> dict[str, torch.Tensor]:
    path = shared_data / "ofa_mbv3" / "random_checkpoint_w10" / "checkpoint.pth"
    return torch.load(path, weights_only=True)["state_dict"]


def _respelled(name: str, rng: np.random.Generator) -> str:
    """The name in one of the other spellings that published checkpoints use."""
    if rng.random() < 0.5:
        name = re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)
    name = re.sub(r"\.(bn|conv|linear)\.\1\.(?=\w+$)", r".\1.", name)
    if rng.random() < 0.5 and "matrix" not in name:
        name = re.sub(r"\.(bn|linear)\.(?=\w+$)|\.(conv)\.(?=weight$)", lambda m: m.group(0) + m.group(0)[1:], name)
    return name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_published_spelling_loads(state, seed):
    rng = np.random.default_rng(seed)
    prefix = "module." if rng.random() < 0.5 else ""
    mixed = {prefix + _respelled(name, rng): tensor for name, tensor in state.items()}
    assert any(name not in state for name in mixed)
    space = ofa_mbv3_w10()
    original, read = space.graph_names(state), space.graph_names(mixed)
    assert set(original) == set(space.supernet_shapes())
    assert read.keys() == original.keys()
    assert all(torch.equal(read[name], original[name]) for name in original)


def test_saved_weights_come_back_with_what_belongs_to_them(tmp_path):
    provenance = Provenance("a test", "MIT", tuple("0123456789"), {"size": 32, "mean": [0.5]}, {"seed": 3})
    supernet = Supernet(MINI, untrained(MINI, 3).tensors, provenance)
    path = tmp_path / "deep" / "mini.safetensors"
    save_supernet(supernet, path)
    loaded = load_supernet(path, MINI)
    assert loaded.weights_id == supernet.weights_id
    assert loaded.provenance == provenance
    assert loaded.licence == "MIT"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(InputError, match=r"holds weights of ofa-mbv3-mini.*--space ofa-mbv3-mini"):
        load_supernet(path, ofa_mbv3_w10())


def test_the_public_checkpoint_names_its_width(shared_data):
    path = shared_data / "ofa_mbv3" / "random_checkpoint_w10" / "checkpoint.pth"
    with pytest.raises(InputError, match=r"do not fit ofa-mbv3-w1\.2.*width 1\.0"):
        load_supernet(path, ofa_mbv3_w12())


def test_what_holds_no_weights_says_so(tmp_path):
    with pytest.raises(InputError, match="doctor --fetch-weights ofa-mbv3-mini"):
        load_supernet(tmp_path / "absent.pth", MINI)
    path = tmp_path / "file.pth"
    for content in (b"", b"not weights at all", b"PK\x03\x04 half a zip", b"\x00" * 8 + b'{"broken'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"file\.pth"):
            load_supernet(path, MINI)
    torch.save({"epoch": 3, "state_dict": [1, 2]}, path)
    with pytest.raises(InputError, match="no state_dict"):
        load_supernet(path, MINI)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(InputError, match=r"missing .* and 1 unknown \(fc\.weight"):
        load_supernet(path, MINI)


class _Harmful:
    def __reduce__(self):
        return (print, ("code inside a checkpoint ran",))


def test_code_in_a_checkpoint_never_runs(tmp_path, capsys):
    path = tmp_path / "harmful.pth"
    torch.save({"state_dict": _Harmful()}, path)
    with pytest.raises(InputError, match="not a checkpoint of weights: it holds more than tensors"):
        load_supernet(path, MINI)
    assert capsys.readouterr().out == ""


def _altered(tmp_path, tensors=lambda name, tensor: tensor, metadata=lambda entries: entries):
    """A file of untrained weights with other tensors or metadata."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    good, path = tmp_path / "good.safetensors", tmp_path / "file.safetensors"
    save_supernet(untrained(MINI, 0), good)
    with safe_open(good, framework="pt") as file:
        content = {name: tensors(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        save_file(content, path, metadata(file.metadata()))
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_number_formats_are_read_as_float32(tmp_path, dtype):
    loaded = load_supernet(_altered(tmp_path, lambda _, tensor: tensor.to(dtype)), MINI)
    assert {tensor.dtype for tensor in loaded.tensors.values()} == {torch.float32}
    assert len(loaded.weights_id) == 64


def test_what_is_wrong_in_a_weights_file_is_named(tmp_path):
    cases = {
        "damaged": {"metadata": lambda entries: {key: entries[key] for key in entries if key != "space"}},
        "below 0": {"tensors": lambda name, tensor: tensor - 2 if name.endswith("variance") else tensor},
        "not finite": {"tensors": lambda name, tensor: tensor / 0 if name == "head.classifier.bias" else tensor},
    }
    for message, change in cases.items():
        with pytest.raises(InputError, match=message):
            load_supernet(_altered(tmp_path, **change), MINI)
    # torch picks its reader by the ending, and each reader fails in its own way.
    path = tmp_path / "text.safetensors"
    for content in (b"", b"hello world, this is text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"text\.safetensors"):
            load_supernet(path, MINI)
    path = tmp_path / "numbered.pth"
    torch.save({"state_dict": {1: torch.zeros(2)}}, path)
    with pytest.raises(InputError, match="no state_dict"):
        load_supernet(path, MINI)


def test_views_that_claim_more_than_is_stored_are_no_weights(tmp_path):
    path = tmp_path / "views.pth"
    torch.save({"state_dict": {"a": torch.zeros(1, dtype=torch.float16).expand(10**12)}}, path)
    with pytest.raises(InputError, match="no state_dict of tensors"):
        load_supernet(path, MINI)
