import numpy as np

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.graphs.prune import drop_unread


def test_what_reaches_no_output_is_dropped() -> None:
    b = GraphBuilder("g")
    x, unused = b.input("x", (1, 4)), b.input("unused", (1, 2))
    for name in ("w", "dead"):
        b.weight(name, np.ones((3, 4), np.float32))
    dead = b.add("relu", [b.add("linear", [x, "dead"])])
    y = b.add("linear", [x, "w"])
    pruned = drop_unread(b.build([y]))
    assert [operator.output for operator in pruned.operators] == [y]
    assert set(pruned.weights) == {"w"}
    assert set(pruned.tensors) == {x, unused, y}
    assert pruned.inputs == (x, unused)
    whole = b.build([y, dead])
    assert drop_unread(whole) is whole
