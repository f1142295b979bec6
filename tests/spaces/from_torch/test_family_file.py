"""A file that describes no family says what it lacks."""

from pathlib import Path

import pytest
import torch

from fleetfront.errors import InputError
from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.spaces.from_torch.own_data import calibrating, judged
from fleetfront.spaces.from_torch.space import make_family

GOOD = """
import torch
choices = {"a": [2, 1]}
def make(a):
    return torch.nn.Linear(3, a)
def inputs(a):
    return torch.zeros(1, 3)
"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('choices = {"a": [2, 1]}', "", "no choices"),
        ("[2, 1]", "[]", "not a list of 1 to 127 values"),
        ("[2, 1]", "3", "not a list of 1 to 127 values"),
        ("[2, 1]", "[1, None]", "has the value None"),
        ("[2, 1]", "['x,y']", "has the value 'x,y'"),
        ("[2, 1]", "[1, 1]", "has a value twice"),
        ('{"a"', '{"a b"', "cannot be a gene"),
        ("def make", "def build", r"no function make\("),
        ("def inputs", "accuracy = 3\ndef inputs", "accuracy of .* is no function"),
        ("def inputs(a)", "def accuracy(b):\n    return 3\ndef inputs(a)", "accuracy of .* the genes a: missing a req"),
        ("def inputs(a)", "def active():\n    return ()\ndef inputs(a)", "active of .* the genes a: got an unexp"),
        ("def inputs(a)", "def judge(a):\n    return 3\ndef inputs(a)", "judge of .* the genes a: multiple values"),
        ("torch.nn.Linear(3, a)", "3", "gave a int"),
        ("torch.nn.Linear(3, a)", "1 / 0", r"make\(a=1\) .* ZeroDivisionError"),
        ("torch.zeros(1, 3)", "'text'", "gave a str where a tensor"),
        ("torch.zeros(1, 3)", "torch.zeros(4, 3)", r"shape \[4, 3\]"),
        ("torch.zeros(1, 3)", "torch.zeros(1, 5)", r"a=2 does not run on its inputs"),
        ("torch.zeros(1, 3)", "torch.zeros(1, 3) / 0", r"inputs\(a=1\) .* NaN or infinity"),
        ("Linear(3, a)", "Threshold(9.0, float('nan'))", "The network a=2 gives NaN for its inputs"),
        ("Linear(3, a)", "Threshold(9.0, float('inf'))", "The network a=2 gives infinity alone"),
        ("import torch", "import torch_of_nobody", "cannot be imported"),
        ("import torch", "import torch\nraise SystemExit(3)", "cannot be imported"),
    ],
)
def test_what_is_wrong_is_said(before: str, after: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "family.py"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(InputError, match=said):
        make_family(read_family(path))


def test_a_network_of_other_genes_that_gives_no_number_gets_no_file(tmp_path: Path) -> None:
    path = tmp_path / "family.py"
    path.write_text(GOOD.replace("Linear(3, a)", "Softmax(1) if a > 1 else torch.nn.Threshold(9.0, float('nan'))"))
    family = make_family(read_family(path))
    graph, _ = family.subnet_graphs(family.parse(["a=1"])[0])["network"]
    with pytest.raises(InputError, match="Threshold gives NaN"):
        graph.exported("onnx")


def test_numbers_ascend_and_words_stay(tmp_path: Path) -> None:
    path = tmp_path / "family.py"
    path.write_text(GOOD.replace("[2, 1]", "[2, 1], 'b': ['z', 'a']").replace("(a)", "(a, b='z')"))
    assert read_family(path).choices == {"a": (1, 2), "b": ("z", "a")}


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_family(tmp_path / "none.py")


TONES = GOOD + "def calibration(a):\n    return [torch.full((1, 3), float(n)) for n in range(20)]\n"


def test_inputs_to_calibrate_on_are_read(tmp_path: Path) -> None:
    (tmp_path / "tones.py").write_text(TONES)
    found = calibrating(read_family(tmp_path / "tones.py"), {"a": 1})
    assert [float(tensor[0, 0]) for (tensor,) in found] == list(range(20))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("range(20)", "range(15)", "gave 15 inputs"),
        ("range(20)", "[]", "gave 0 inputs"),
        ("    return [", "    return iter(lambda: (torch.rand(1, 3),), 0) or [", "more than 512"),
        ("    return [", "    return [3] * 20 or [", "gave a int where a tensor"),
        ("    return [", "    return 3 or [", r"calibration\(a=1\) .* gave a int"),
        ("float(n)", "1 / (10 - n)", "ZeroDivisionError"),
        ("float(n)", "float('nan')", "no finite number"),
        ("float(n)", "1.0", "one input again and again"),
        ("(1, 3), ", "(1, 4), ", r"float32\[1, 4\], and .* float32\[1, 3\]"),
        ("float(n)", "n", r"int64\[1, 3\], and"),
        ("def calibration", "calibration = 3\ndef other", "calibration of .* is no function"),
        ("def calibration", "def other", "does not say which values"),
    ],
)
def test_what_int8_cannot_be_calibrated_on_is_refused(before: str, after: str, said: str, tmp_path: Path) -> None:
    assert before in TONES
    (tmp_path / "tones.py").write_text(TONES.replace(before, after))
    with pytest.raises(InputError, match=said):
        calibrating(read_family(tmp_path / "tones.py"), {"a": 1})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("50.0", "0.5", "a fraction of 1, or a percentage"),
        ("50.0", "150", "gave 150, which is no accuracy in percent"),
        ("50.0", "'much'", "gave much, which is no accuracy"),
        ("50.0", "run(torch.zeros(1, 4))", r"judge\(a=1\) of judged.py failed: RuntimeError"),
        ("def judge", "accuracy_name = 'loss'\ndef judge", "beside accuracy_name"),
        ("def judge", "accuracy_unit = 'pass'\ndef judge", "beside accuracy_unit = pass"),
    ],
)
def test_what_judges_no_file_is_refused(before: str, after: str, said: str, tmp_path: Path) -> None:
    code = GOOD + "def judge(run, a):\n    return 50.0\n"
    (tmp_path / "judged.py").write_text(code.replace(before, after))
    with pytest.raises(InputError, match=said):
        judged(read_family(tmp_path / "judged.py"), {"a": 1}, torch.nn.Linear(3, 1))
