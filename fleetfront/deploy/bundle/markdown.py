"""Outside text inside Markdown and pictures: what somebody called a folder, a licence or a device never becomes markup.
What a card says is in ``bundle.card``.
"""

from __future__ import annotations

import re

#: What begins markup or HTML inside a line, and what ends a cell of a table.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def plain(value: object) -> str:
    """``value`` as one line of text, shown as it is."""
    line = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda match: f"\\{match.group()}", line)


def code(value: object, *, in_table: bool = False) -> str:
    """``value`` as a span of code, in which only the backtick means something, and in tables the bar."""
    text = one_line(value).replace("`", "'")
    return f"`{text.replace('|', chr(92) + '|') if in_table else text}`"


def one_line(value: object) -> str:
    """``value`` without line breaks and other control characters, and without what UTF-8 cannot spell."""
    line = " ".join(str(value).split())
    shown = "".join(character if character.isprintable() or character == "\u200d" else "?" for character in line)
    return shown.encode("utf-8", "replace").decode()
