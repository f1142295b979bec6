"""Find the tokens of a file that a program decides or computes by, and replace one of them."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_SWAPS = {
    "<": ("<=", ">"), "<=": ("<", ">"), ">": (">=", "<"), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "+": ("-",), "-": ("+",), "*": ("/",), "/": ("*",), "//": ("/",), "**": ("*",), "%": ("*",), "@": ("*",),
    "+=": ("-=",), "-=": ("+=",), "*=": ("/=",), "/=": ("*=",), "&": ("|",), "|": ("&",), "~": ("",),
    "and": ("or",), "or": ("and",), "not": ("",), "True": ("False",), "False": ("True",),
    "min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",), "argmin": ("argmax",), "argmax": ("argmin",),
    "minimum": ("maximum",), "maximum": ("minimum",), "sum": ("max",), "mean": ("sum",), "median": ("max",),
    "break": ("continue",), "continue": ("break",), "log": ("exp",), "exp": ("log",), "sqrt": ("abs",),
    "argsort": ("lexsort",), "sorted": ("list",), "floor": ("ceil",), "ceil": ("floor",),
}  # fmt: skip
_KEYWORDS = ("and", "or", "not", "True", "False", "break", "continue")
#: Keyword arguments that only guard against a caller's slips, or name what a message says.
_GUARDS = ("strict", "stacklevel", "frozen", "slots", "kw_only", "exist_ok", "parents", "ensure_ascii", "indent")


@dataclass(frozen=True)
class Mutant:
    """One token of one line, replaced."""

    path: str
    line: int
    column: int
    source: str
    before: str
    after: str

    @property
    def key(self) -> str:
        """The same as long as the line is."""
        return f"{self.path}|{self.source.strip()}|{self.column - _indent(self.source)}|{self.before}->{self.after}"

    def apply(self, text: str) -> str:
        """The file with the mutant in it."""
        lines = text.splitlines(keepends=True)
        at = self.line - 1
        if lines[at].rstrip("\n") != self.source:  # the file has grown since
            at = [line.rstrip("\n") for line in lines].index(self.source)
        line = lines[at]
        lines[at] = line[: self.column] + self.after + line[self.column + len(self.before) :]
        return "".join(lines)


def _indent(source: str) -> int:
    return len(source) - len(source.lstrip())


def mutants_of(path: str, text: str) -> Iterator[Mutant]:
    """Every single-token mutant of a file's statements that still is Python."""
    silent = _silent_lines(text)
    lines = text.splitlines()
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type != tokenize.COMMENT]
    for place, token in enumerate(tokens):
        row, column = token.start
        if (row, column) in silent or row in silent or _is_guard(tokens, place):
            continue
        for after in _replacements(tokens, place):
            mutant = Mutant(path, row, column, lines[row - 1], token.string, after)
            try:
                compile(mutant.apply(text), path, "exec")
            except SyntaxError:
                continue
            yield mutant


def _replacements(tokens: Sequence[tokenize.TokenInfo], place: int) -> Sequence[str]:
    token = tokens[place]
    previous = tokens[place - 1] if place else token
    if token.type == tokenize.NUMBER:
        return _numbers(token.string)
    if token.string in ("*", "**") and previous.string in ("(", ",", "[", "{", "lambda"):
        return ()
    if token.string == "-" and (previous.type == tokenize.OP and previous.string not in (")", "]", "}")):
        return ("",)
    if token.type == tokenize.NAME and previous.string in ("def", "import", "as", "from", "class"):
        return ()
    after = tokens[place + 1].string if place + 1 < len(tokens) else ""
    if token.type == tokenize.NAME and token.string not in _KEYWORDS and after != "(":
        return ()  # a variable of that name
    return _SWAPS.get(token.string, ())


def _numbers(text: str) -> tuple[str, ...]:
    value = ast.literal_eval(text)
    if isinstance(value, int):
        return (str(value + 1), str(value - 1)) if value > 0 else ("1",)
    return (repr(value * 2),) if value else ("1.0",)


def _is_guard(tokens: Sequence[tokenize.TokenInfo], place: int) -> bool:
    return place > 1 and tokens[place - 1].string == "=" and tokens[place - 2].string in _GUARDS


def _silent_lines(text: str) -> set[Any]:
    """Lines and places that compute nothing: annotations, docstrings, imports, ``__all__``, decorators, messages."""
    found: set[Any] = set()
    for node in ast.walk(ast.parse(text)):
        spans: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            spans += node.decorator_list
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            spans.append(node.annotation)
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            spans.append(node.returns)
        if isinstance(node, ast.Import | ast.ImportFrom):
            spans.append(node)
        if isinstance(node, ast.Raise) and node.exc is not None:
            spans.append(node.exc)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Subscript) and _is_alias(node):
            spans.append(node)
        for span in spans:
            found |= _places(span, text)
    return found


def _is_alias(node: ast.Assign) -> bool:
    """Whether it names a type: ``Shape = tuple[int | str, ...]``."""
    target = node.targets[0]
    return isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper()


def _places(span: ast.AST, text: str) -> set[tuple[int, int]]:
    lines = text.splitlines()
    places = set()
    first, last = span.lineno, span.end_lineno or span.lineno  # type: ignore[attr-defined]
    for row in range(first, last + 1):
        begin = span.col_offset if row == first else 0  # type: ignore[attr-defined]
        end = span.end_col_offset if row == last else len(lines[row - 1])  # type: ignore[attr-defined]
        places |= {(row, column) for column in range(begin, end)}
    return places
