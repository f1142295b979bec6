"""Read names of once-for-all's state dicts, in every spelling that its checkpoints were published with."""

from __future__ import annotations

import re
from collections.abc import Callable

_STATISTICS = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}


def plain_name(name: str, in_graph: Callable[[str], str]) -> str:
    """A name as a graph has it; ``in_graph`` translates its parts, each written once."""
    name = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
    # Elastic layers wrap plain ones under the same name: `.bn.bn.`, `.conv.conv.`, `.linear.linear.`.
    name = in_graph(re.sub(r"\.(bn|conv|linear)\.\1\.", r".\1.", name)).removesuffix("_matrix")
    layer, _, statistic = name.rpartition(".")
    return f"{layer}.{_STATISTICS.get(statistic, statistic)}" if layer.endswith(".bn") else name
