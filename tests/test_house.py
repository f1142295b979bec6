"""Measures of the house that hold themselves: what the code is told apart by, how long it is, what it imports."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import pytest

from fleetfront.profilers.kinds.catalogue import kind_names
from fleetfront.runtimes.catalogue import all_facts
from fleetfront.spaces.catalogue import space_names

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fleetfront"

#: Rooms with one folder for each of the things that must not be told apart elsewhere.
ROOMS = ("fleetfront.profilers", "fleetfront.runtimes", "fleetfront.spaces", "fleetfront.predictors")
#: What parts have and records have not.
OF_PARTS = ("predict", "sample", "ask", "run", "open", "block_graph")
#: Where a name of each sort may be compared: in the rooms that are of nothing else.
OWN = {
    "device kind": ("profilers/cpu/", "profilers/gpu/", "profilers/adb/", "profilers/remote/", "profilers/kinds/"),
    "runtime": ("runtimes/", "profilers/gpu/programs/", "profilers/adb/runners/"),
    "space": ("spaces/",),
}

#: Tests of kind, runtime, space or model that stay, and why.
ALLOWED: dict[tuple[str, str], str] = {
    ("graphs/torch_depthwise.py", "'cpu'"): "where a torch tensor lies, not where a target runs",
    ("deploy/bundle/vectors.py", "'torch'"): "who computed a tensor, in the words of a table",
}

#: Names that another library has in some versions only, and HTTP errors have a code.
FOREIGN_PROBES = {
    "pipelines/deploy/export_example.py": {"key", "idx", "name"},
    "profilers/adb/link/transport.py": {"TCP_QUICKACK"},
    "profilers/cpu/conditions.py": {"sched_getaffinity"},
    "runtimes/cuda_device.py": {"_cuda_hasPrimaryContext", "uuid"},
    "runtimes/onnxruntime/cuda.py": {"preload_dlls", "cuda_version"},
    "spaces/supernet/published.py": {"code"},
}

#: Modules with one importer and under 60 lines that are concepts of their own, where they are listed, and why.
CONCEPTS = {
    (r"profilers/\w+/kind\.py", "profilers/kinds/catalogue.py"): "one kind of device",
    (r"runtimes/\w+/facts\.py", "runtimes/catalogue.py"): "one record a runtime",
    (r"deploy/writers/\w+/writer\.py", "deploy/formats.py"): "one format",
    (r"search/strategies/\w+\.py", "search/strategies/catalogue.py"): "one strategy",
}


class Found(NamedTuple):
    """A test of a concrete thing outside its room."""

    path: str
    line: int
    what: str


@dataclass(frozen=True)
class Module:
    """A parsed file of the package."""

    name: str
    path: str
    source: str
    tree: ast.Module
    #: Local name -> module and name that it was imported from.
    imported: dict[str, tuple[str, str]]

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """Name -> value of what the module assigns at its top."""
        found = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    # Several at once, as ``A, B = 1, 2``.
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    values = (
                        node.value.elts
                        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                        else [node.value]
                    )
                    found |= {
                        one.id: value for one, value in zip(names, values, strict=False) if isinstance(one, ast.Name)
                    }
        return found

    @property
    def lines(self) -> int:
        return len(self.source.splitlines())


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        # Templates of the code beside a deployed file are no code yet.
        if "snippets" in path.parts:
            continue
        source = path.read_text()
        tree = ast.parse(source)
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        imported = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        found[name] = Module(name, str(path.relative_to(PACKAGE)), source, tree, imported)
    return found


def imports_of(module: Module) -> set[str]:
    """Modules of the package that a module imports, at its top or inside a function."""
    origins = ((origin, f"{origin}.{name}") for origin, name in module.imported.values())
    found = {submodule if submodule in modules() else origin for origin, submodule in origins}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & modules().keys()) - {module.name}


def pointed_to(module: Module) -> set[str]:
    """Modules that are named in strings such as ``fleetfront.x.y:name``, to be imported when they are needed."""
    strings = (node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
    return {text.split(":")[0] for text in strings if isinstance(text, str)} & modules().keys()


def room_of(name: str) -> str:
    return ".".join(name.split(".")[:3])


# What concrete things are told apart by.


@cache
def words() -> dict[str, str]:
    """Name -> of what: those of device kinds, runtimes and spaces."""
    names = {name: "space" for name in space_names()}
    names |= {name: "runtime" for facts in all_facts().values() for name in facts.names}
    names |= {name: "device kind" for name in kind_names()}
    return names | {f"{name}:": "device kind" for name in kind_names()}


@cache
def is_kind() -> re.Pattern[str]:
    return re.compile(rf"is_({'|'.join(kind_names())}|gpu|phone)")


def concrete_tests(module: Module) -> Iterator[Found]:
    for node in ast.walk(module.tree):
        for what in _names_tested(module, node):
            yield Found(module.path, getattr(node, "lineno", 0), what)


def _names_tested(module: Module, node: ast.AST) -> Iterator[str]:
    operands: list[ast.expr] = []
    if isinstance(node, ast.Compare):
        for side in (node.left, *node.comparators):
            meant = module.constants.get(side.id, side) if isinstance(side, ast.Name) else side
            operands += meant.elts if isinstance(meant, ast.Tuple | ast.Set | ast.List) else [meant]
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        operands += [key for key in node.value.keys if key is not None]
    if isinstance(node, ast.MatchValue):
        operands.append(node.value)
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("startswith", "removeprefix", "partition") and node.args:
            operands.append(node.args[0])
        if is_kind().fullmatch(called) and not module.path.startswith(OWN["device kind"]):
            yield f"{called}()"
        if called == "isinstance":
            yield from _parts_in(module, node.args[1])
    for operand in operands:
        if isinstance(operand, ast.Constant) and operand.value in words():
            if not module.path.startswith(OWN[words()[operand.value]]):
                yield repr(operand.value)
        elif isinstance(operand, ast.Name) and _is_foreign(module, operand.id):
            value = _imported(module, operand.id)
            if isinstance(value, str) and value in words():
                yield operand.id


def _parts_in(module: Module, tested: ast.expr) -> Iterator[str]:
    for name in (node.id for node in ast.walk(tested) if isinstance(node, ast.Name)):
        if _is_foreign(module, name):
            kind = _imported(module, name)
            is_part = not getattr(kind, "_is_protocol", False) and any(hasattr(kind, method) for method in OF_PARTS)
            if is_part:
                yield f"isinstance {name}"


def _imported(module: Module, name: str) -> object:
    origin, original = module.imported[name]
    return getattr(importlib.import_module(origin), original, None)


def _is_foreign(module: Module, name: str) -> bool:
    """Whether a name comes from a folder of one of the rooms, and not from the folder that uses it."""
    origin = module.imported.get(name, ("", ""))[0]
    is_in_folder = origin.startswith(ROOMS) and origin.count(".") >= 3
    return is_in_folder and room_of(origin) != room_of(module.name)


def test_nothing_concrete_is_told_apart_outside_its_room() -> None:
    seen = (one for module in modules().values() for one in concrete_tests(module))
    found = {(one.path, one.what): one for one in seen if (one.path, one.what) not in ALLOWED}
    named = [f"fleetfront/{one.path}:{one.line} {one.what}" for one in sorted(found.values())]
    assert not named, "ask a DeviceKind, RuntimeFacts or a capability instead: " + "; ".join(named)


def test_parts_are_asked_by_protocol_not_probed() -> None:
    """Names of Python's own and of other libraries, which differ from version to version, may be."""
    probes: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        calls = [n for n in ast.walk(module.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        for call in (call for call in calls if call.func.id in ("getattr", "hasattr")):  # type: ignore[attr-defined]
            name = call.args[1].value if isinstance(call.args[1], ast.Constant) else "__"
            if not name.startswith("__"):
                probes[module.path].add(name)
    assert {name for path, names in probes.items() if path not in FOREIGN_PROBES for name in names} == set()
    assert all(probes[path] == names for path, names in FOREIGN_PROBES.items()), dict(probes)


def test_a_comparison_outside_its_room_is_seen() -> None:
    source = (
        "from fleetfront.spaces.nasbench201.space import NasBench201Space\n"
        "def f(device, space):\n"
        "    return device == 'cpu' or device.startswith('adb:') or isinstance(space, NasBench201Space)\n"
        "    return device in ('litert', 'nothing') or is_cuda(device)\n"
    )
    imported = {"NasBench201Space": ("fleetfront.spaces.nasbench201.space", "NasBench201Space")}
    module = Module("fleetfront.cli.x", "cli/x.py", source, ast.parse(source), imported)
    expected = {"'cpu'", "'adb:'", "isinstance NasBench201Space", "'litert'", "is_cuda()"}
    assert {one.what for one in concrete_tests(module)} == expected


# How long files and functions are, and who needs them.


def test_files_and_functions_are_short() -> None:
    files = [path for room in ("fleetfront", "tests", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > 400}
    assert not long, f"split: {long}"
    functions = {
        f"{module.path}:{node.name}": n
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (n := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert not functions, f"split: {functions}"


def lonely_modules() -> dict[str, str]:
    """Path -> its only importer, of modules under 60 lines."""
    importers: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        for name in imports_of(module) | pointed_to(module):
            importers[name].add(module.path)
    return {
        module.path: next(iter(importers[name]))
        for name, module in modules().items()
        if module.lines < 60 and len(importers[name]) == 1 and not module.path.endswith("__init__.py")
    }


def test_few_small_modules_have_one_importer() -> None:
    lonely = lonely_modules()
    left = {
        path: importer
        for path, importer in lonely.items()
        if not any(re.fullmatch(listed, path) and importer == where for listed, where in CONCEPTS)
    }
    assert len(left) <= 10, f"merge into their importers, or say in CONCEPTS why not: {left}"


# What is imported.


def test_pickle_is_never_imported() -> None:
    for module in modules().values():
        imported = {alias.name for n in ast.walk(module.tree) if isinstance(n, ast.Import) for alias in n.names}
        imported |= {origin for origin, _ in module.imported.values()}
        assert "pickle" not in imported, f"{module.path}: use JSON, safetensors or numpy"


def test_imports_point_down_and_nobody_imports_the_checks() -> None:
    """As import-linter says in CI, for whoever runs the tests alone; imports inside functions count, too."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = {room.strip(): -i for i, layer in enumerate(contract["layers"]) for room in layer.split("|")}

    def floor(name: str) -> int | None:
        return next((level for room, level in floors.items() if f"{name}.".startswith(f"{room}.")), None)

    wrong = []
    for module in modules().values():
        ours = floor(module.name)
        for name in imports_of(module):
            theirs = floor(name)
            is_up = ours is not None and theirs is not None and theirs > ours
            is_check = name.startswith("fleetfront.testing") and not module.name.startswith("fleetfront.testing")
            if is_up or is_check:
                wrong.append(f"{module.name} imports {name}")
    assert not wrong
    unplaced = {".".join(name.split(".")[:2]) for name in modules() if floor(name) is None} - {"fleetfront"}
    assert unplaced <= {"fleetfront.__main__"}, f"give {unplaced} a floor in pyproject.toml"


def test_the_map_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`((?:\w+/)+(?:\w+\.py)?|\w+\.(?:py|toml))`", text)
    assert len(paths) > 20
    for path in paths:
        if not re.search(r"NAME|FAMILY|GROUP", path):
            assert any((base / path).exists() for base in (PACKAGE, ROOT)), path


@pytest.mark.parametrize("room", ["fleetfront", "tests", "examples", "benchmarks"])
def test_a_file_opens_with_a_noun_and_a_verb(room: str) -> None:
    riddles = re.compile(r"(What|Whether|Which|Why|Who|Whose|Where|How)\b")
    found = {
        str(path.relative_to(ROOT)): text.splitlines()[0]
        for path in sorted((ROOT / room).rglob("*.py"))
        if "snippets" not in path.parts
        and (text := ast.get_docstring(ast.parse(path.read_text())) or "")
        and riddles.match(text)
    }
    assert not found, "open with what lives here or what it does, not with a riddle"


def test_docstrings_begin_with_what_a_thing_is_or_does() -> None:
    """A verb for functions, a noun for things."""
    parts = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [
        f"fleetfront/{module.path}:{node.lineno} {node.name}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, parts) and re.match(r"(What|Whether)\b", ast.get_docstring(node) or "")
    ]
    assert not found, f"begin with a verb or a noun: {found}"
