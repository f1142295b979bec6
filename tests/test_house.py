"""Measures of the house that hold themselves: what the code is told apart by, how long it is, what it imports."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from fleetfront.profilers.kinds.catalogue import kind_names
from fleetfront.runtimes.catalogue import all_facts
from fleetfront.spaces.catalogue import space_names
from tests.package_modules import PACKAGE, ROOT, Module, imports_of, modules, pointed_to

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
    ("runtimes/tensorrt/engine.py", "'cuda'"): "the version of a library, in the words of a record",
    ("predictors/table/warnings.py", "'cpu'"): "a fact that devices tell of themselves",
    ("testing/simulated_device.py", "'cpu'"): "a fact that devices tell of themselves",
    ("testing/simulated_kind.py", "'cpu'"): "a fact that devices tell of themselves",
}

#: Methods that compare a text with their first argument, look it up, or cut it off.
TELLING = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "get", "pop", "index"}
TELLING |= {"fullmatch", "match", "search", "count", "find"}
#: Modules that call an agent, and why each is not a second measuring loop.
LOOPS = {
    "profilers/campaign.py": "the loop",
    "profilers/adb/sustained.py": "without rounds and rests, for the heat that is measured: see the map",
    "profilers/kinds/base.py": "hands on to the agent that it holds",
    "profilers/remote/host.py": "serves the loop of another host",
}
#: Modules above the profilers that look at rows, and what for; numbers are made of them in ``profilers/reading`` alone.
LOOKS_AT_ROWS = {
    "cli/profile/space.py": "flags of launch-bound networks",
    "pipelines/fit/fit.py": "whether a metric was measured",
    "pipelines/knowledge/files.py": "which campaigns hold a file",
    "pipelines/measure/energy.py": "which networks are done",
    "pipelines/measure/file_operators.py": "times of operators, which are no samples",
    "pipelines/measure/single_file.py": "remedies of errors, and which clocks and metrics there are",
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
    match node:
        case ast.Compare():
            sides = (node.left, *node.comparators)
            operands += sides
            if any(isinstance(side, ast.Call) and getattr(side.func, "id", "") == "type" for side in sides):
                yield from (part for side in sides for part in _parts_in(module, side))
        case ast.Dict():
            operands += [key for key in node.keys if key is not None]
        case ast.MatchValue():
            operands.append(node.value)
        case ast.MatchClass():
            yield from _parts_in(module, node.cls)
        case ast.Attribute() if _is_kind(module, node.attr):
            yield f"{node.attr}()"
        case ast.Call():
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in TELLING:
                operands += node.args[:2]
            if isinstance(node.func, ast.Name) and _is_kind(module, called):
                yield f"{called}()"
            if called in ("isinstance", "issubclass"):
                yield from _parts_in(module, node.args[1])
    for operand in (one for side in operands for one in _members(module, side)):
        value = _value(module, operand)
        if isinstance(value, str) and value in words() and not _is_at_home(module, words()[value]):
            yield repr(value) if isinstance(operand, ast.Constant) else ast.unparse(operand)


def _is_at_home(module: Module, what: str) -> bool:
    """Records of runtimes say what each is called on every kind of device."""
    is_record = what == "device kind" and re.fullmatch(r"runtimes/\w+/facts\.py", module.path) is not None
    return is_record or module.path.startswith(OWN[what])


def _is_kind(module: Module, name: str) -> bool:
    return is_kind().fullmatch(name) is not None and not _is_at_home(module, "device kind")


def _members(module: Module, operand: ast.expr) -> Iterator[ast.expr]:
    """An operand, or what is in it: members of a collection that stands there or is assigned at the module's top."""
    meant = module.constants.get(operand.id, operand) if isinstance(operand, ast.Name) else operand
    if isinstance(meant, ast.Call) and getattr(meant.func, "id", "") in ("frozenset", "set", "tuple", "list"):
        meant = meant.args[0] if meant.args else meant
    if isinstance(meant, ast.Tuple | ast.Set | ast.List):
        yield from meant.elts
    elif isinstance(meant, ast.Dict):
        yield from (key for key in meant.keys if key is not None)
    else:
        yield meant


def _value(module: Module, operand: ast.expr) -> object:
    """What is spelled here, or imported by name or as a member of a module of another room."""
    if isinstance(operand, ast.Constant):
        return operand.value
    if isinstance(operand, ast.Name) and _is_foreign(module, operand.id):
        return _imported(module, operand.id)
    if isinstance(operand, ast.Attribute) and isinstance(operand.value, ast.Name):
        name = ".".join(module.imported.get(operand.value.id, ("", "")))
        if name in modules() and room_of(name) != room_of(module.name):
            return getattr(importlib.import_module(name), operand.attr, None)
    return None


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


@pytest.mark.parametrize(
    ("test", "seen"),
    [
        ("device == 'cpu'", "'cpu'"),
        ("device.startswith('adb:')", "'adb:'"),
        ("device in ('litert', 'nothing')", "'litert'"),
        ("device in frozenset({'litert'})", "'litert'"),
        ("is_cuda(device)", "is_cuda()"),
        ("device.is_phone", "is_phone()"),
        ("{'onnxruntime': 1}.get(device)", "'onnxruntime'"),
        ("{}.get('onnxruntime')", "'onnxruntime'"),
        ("re.fullmatch('cpu', device)", "'cpu'"),
        ("device in KINDS", "'cuda'"),
        ("device == kind.CPU", "kind.CPU"),
        ("isinstance(space, NasBench201Space)", "isinstance NasBench201Space"),
        ("type(space) is NasBench201Space", "isinstance NasBench201Space"),
        ("issubclass(space, NasBench201Space)", "isinstance NasBench201Space"),
    ],
)
def test_a_comparison_outside_its_room_is_seen(test: str, seen: str) -> None:
    module = parsed(f"KINDS = {{'cuda', 'gpu'}}\ndef f(device, space):\n    return {test}\n")
    assert seen in {one.what for one in concrete_tests(module)}


def test_a_pattern_outside_its_room_is_seen() -> None:
    source = "match space:\n    case NasBench201Space():\n        pass\n    case 'cpu':\n        pass\n"
    assert {one.what for one in concrete_tests(parsed(source))} == {"isinstance NasBench201Space", "'cpu'"}


def parsed(source: str) -> Module:
    imported = {
        "NasBench201Space": ("fleetfront.spaces.nasbench201.space", "NasBench201Space"),
        "kind": ("fleetfront.profilers.cpu", "kind"),
    }
    return Module("fleetfront.cli.x", "cli/x.py", source, ast.parse(source), imported)


def test_one_loop_measures() -> None:
    def calls_an_agent(module: Module) -> bool:
        calls = (n.func for n in ast.walk(module.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))
        return any(call.attr == "run" and re.search(r"agent(\(.*\))?$", ast.unparse(call.value)) for call in calls)

    found = {m.path for m in modules().values() if not m.path.startswith("testing/") and calls_an_agent(m)}
    assert found == LOOPS.keys(), "give Campaign another task or option instead of a loop beside it"


def test_one_reader_makes_numbers_of_samples() -> None:
    def looks(module: Module) -> bool:
        names = {n.attr for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)}
        return not module.path.startswith("profilers/") and not names.isdisjoint({"measurements", "pieces"})

    found = {module.path for module in modules().values() if looks(module)}
    assert found == LOOKS_AT_ROWS.keys(), "ask profilers/reading, which leaves the same visits out for everybody"


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
