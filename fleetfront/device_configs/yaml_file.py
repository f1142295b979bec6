"""Reading YAML that somebody else wrote: plain values only, no duplicate keys, no anchors, bounded size, and the line
of every key for error messages. What the values mean is not known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.errors import InputError
from fleetfront.files import check_regular

if TYPE_CHECKING:
    import yaml

KeyPath = tuple[int | str, ...]

#: Deeper nesting than this is no file of ours; it would only exhaust the stack.
_MAX_DEPTH = 20
#: As much of what is wrong is repeated.
_SHOWN = 60
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
#: Numbers that are not finite are left to whoever knows the key.
_PLAIN_NUMBER = re.compile(
    r"[+-]?(?:0|[1-9][0-9]*)|[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?\.(?i:inf|nan)"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and the line (from 1) of every key and list item by its path."""

    value: Any
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """Line of ``path``, or of the nearest enclosing key that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(path: Path, max_bytes: int) -> Document:
    """Parse one YAML file of at most ``max_bytes``.

    Raises InputError naming the file and line if it cannot be read, is too large, is not YAML, repeats a key, or uses
    anchors, tags or keys that are not strings.
    """
    import yaml

    text = _text(path, max_bytes)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise InputError(f"{path}: {where}: not YAML: {error.problem}.", "Correct that line.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {type(error).__name__}: {error}.", "Save it as UTF-8 text.") from error
    if node is None:
        raise InputError(f"{path} is empty.", "Write at least one key: value line.")
    lines: dict[KeyPath, int] = {(): node.start_mark.line + 1}
    seen: set[int] = set()
    value = _plain(node, (), lines, seen, path, yaml.SafeLoader(""))
    return Document(value, lines)


def _text(path: Path, max_bytes: int) -> str:
    check_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path and its rights."
        ) from error
    if len(data) > max_bytes:
        raise InputError(f"{path} is larger than {max_bytes} bytes.", "Give a file of the kind that is expected here.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error


def _plain(
    node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int], seen: set[int], path: Path, loader: yaml.SafeLoader
) -> Any:
    import yaml

    line = node.start_mark.line + 1
    if id(node) in seen or len(at) > _MAX_DEPTH:
        raise InputError(f"{path}: line {line}: anchors, aliases and deep nesting are not read.", "Write values out.")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _mapping(node, at, lines, seen, path, loader)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        items = []
        for index, item in enumerate(node.value):
            lines[(*at, index)] = item.start_mark.line + 1
            items.append(_plain(item, (*at, index), lines, seen, path, loader))
        return items
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBER_TAGS and not _PLAIN_NUMBER.fullmatch(node.value):
            raise InputError(
                f"{path}: line {line}: {node.value[:_SHOWN]!r} is not read as a number: YAML would make 10 of 1_0, 16 "
                "of 0x10, 8 of 010 and 90 of 1:30.",
                'Write decimal digits, or put text into quotes ("...").',
            )
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(
                f"{path}: line {line}: {node.value[:_SHOWN]!r} cannot be read.", "Write a plain value."
            ) from error
    raise InputError(f"{path}: line {line}: the tag {node.tag!r} is not read.", "Write plain values without tags.")


def _mapping(
    node: yaml.MappingNode,
    at: KeyPath,
    lines: dict[KeyPath, int],
    seen: set[int],
    path: Path,
    loader: yaml.SafeLoader,
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _plain(key_node, (*at, "key"), {}, seen, path, loader)
        if not isinstance(key, str):
            raise InputError(f"{path}: line {line}: the key {key!r} is not text.", 'Put it into quotes ("...").')
        if key in result:
            first = lines[(*at, key)]
            raise InputError(f"{path}: line {line}: {key!r} is already set in line {first}.", "Remove one of the two.")
        lines[(*at, key)] = line
        result[key] = _plain(value_node, (*at, key), lines, seen, path, loader)
    return result
