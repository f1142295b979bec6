"""Parse every file of the package once, for tests of what it is told apart by, how long it is, and what it imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fleetfront"


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
