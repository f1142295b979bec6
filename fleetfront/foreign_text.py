"""Recognise what other measuring programs print, so that whoever gives it in place of a file of ours is told so."""

from __future__ import annotations

import re
from pathlib import Path

#: What is looked at; all of these say what they are early.
_HEAD_BYTES = 1 << 16
#: What tells a text -> what it is. The first that matches counts.
_PRINTED = (
    (r"^MLPerf Results Summary\s*$", "the summary of an MLPerf run, percentiles of one model's queries"),
    (r"^\s*\S+\s+min =\s+[\d.]+\s+max =\s+[\d.]+\s+avg =\s+[\d.]+", "what ncnn's benchncnn prints"),
    (
        r"^&&&& RUNNING TensorRT\.trtexec|=== Performance summary ===\s*$",
        "what trtexec prints",
    ),
    (
        r"^.{0,80}?(?:Inference timings in us: |Inference \(avg\): |count=\d+ (?:first|curr)=|[Nn]um runs: \[)",
        "what benchmark_model of TensorFlow Lite prints",
    ),
)


def recognise(path: Path) -> str:
    """Words for what a text file is that another program printed; empty where nothing here knows it.

    Raises OSError if it cannot be read.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        text = file.read(_HEAD_BYTES).decode("utf-8", errors="replace")
    return next((what for pattern, what in _PRINTED if re.search(pattern, text, re.MULTILINE)), "")
