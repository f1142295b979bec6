import numpy as np

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.graphs.prune import drop_unread, share_equal


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


def test_equal_operators_are_shared_and_others_not() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4))
    first, second = b.add("relu", [x]), b.add("relu", [x])
    deeper = [b.add("sigmoid", [name]) for name in (first, second)]
    turned = [b.add("add", [first, deeper[0]]), b.add("add", [deeper[1], second])]
    clipped = b.add("relu6", [x])
    y = b.add("multiply", [b.add("add", turned), clipped])
    shared = share_equal(b.build([y]))
    assert [operator.family for operator in shared.operators] == ["relu", "sigmoid", "add", "relu6", "add", "multiply"]
    assert shared.operators[-2].inputs == (turned[0], turned[0])


def test_outputs_that_are_equal_stay_two() -> None:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4))
    outputs = [b.add("relu", [x]), b.add("relu", [x])]
    assert share_equal(b.build(outputs)).outputs == tuple(outputs)
