"""Genes that places of networks depend on are found by changing them, and corrected by what contradicts it."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.from_torch.tables import learn_slots
from fleetfront.spaces.slot_tables import codes


def test_a_large_family_is_learnt_from_a_part_of_its_networks() -> None:
    counts, asked = (3,) * 10, []

    def trace(genes: tuple[int, ...]) -> dict[str, str]:
        asked.append(genes)
        depth = genes[0]
        held = {f"layer {n}": f"k{genes[n + 1]} w{genes[7]}" for n in range(depth + 1)}
        # A dependence that changing one gene of most networks does not show.
        return held | ({"rare": str(genes[9])} if genes[7] == 2 and genes[8] == 1 else {})

    slots = learn_slots(counts, [f"g{n}" for n in range(10)], trace)
    assert len(set(asked)) == len(asked) < 2000 < 3**10
    assert {slot.place: slot.genes for slot in slots} == {
        "layer 0": (1, 7),
        "layer 1": (0, 2, 7),
        "layer 2": (0, 3, 7),
        "rare": (7, 8, 9),
    }
    rows = np.random.default_rng(0).integers(0, 3, (500, 10)).astype(np.int8)
    for slot in slots:
        found = [slot.held[code] for code in codes(slot.genes, counts, rows)]
        assert found == [trace(tuple(row)).get(slot.place, "") for row in rows.tolist()]


def test_a_small_family_is_traced_whole() -> None:
    asked = []
    learn_slots((4, 8), ["a", "b"], lambda genes: asked.append(genes) or {"x": str(sum(genes))})
    assert len(asked) == len(set(asked)) == 32


def test_what_depends_on_everything_is_refused() -> None:
    with pytest.raises(InputError, match="x alone depends on g0, g1"):
        learn_slots((3,) * 12, [f"g{n}" for n in range(12)], lambda genes: {"x": str(genes)})
