"""Costs learnt from a made-up device whose arithmetic is known: kinds, fusion, layouts, scales, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.errors import FileError, InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.pipelines.measure.operator_design import IDLE, IDLE_CHAIN, OperatorDesign, draw_more, first_design
from fleetfront.pipelines.measure.operators import learn_costs
from fleetfront.predictors.operators.cost_files import costs_path, list_costs, load_costs, save_costs
from fleetfront.predictors.operators.costs import OperatorCosts
from fleetfront.predictors.operators.design import draw_singles
from fleetfront.predictors.operators.kernels import FEATURES, Kernel, graph_kernels, kernels_on
from fleetfront.predictors.operators.networks import draw_networks
from fleetfront.predictors.operators.rules import ChainTest, Rules, find_rules, group_kernels
from fleetfront.predictors.operators.samples import Sample
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray, Tier, interval_90
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

TARGET = Target("board", "onnxruntime")
IDLE_MS, LAYOUT_MS = 0.004, 0.25
INSIDE = ("conv", "pointwise", "depthwise", "grouped", "max_pool2d", "average_pool2d", "global_average_pool")


def alone_ms(kernel: Kernel) -> float:
    """What the device takes for one operator: arithmetic, traffic, and a change of layout where it has one."""
    mmacs, _, read, written, weights, *_ = kernel.features
    ends = (0.0 if kernel.kind.endswith(" narrow") else read) + written
    changes = LAYOUT_MS / 2 * ends if kernel.kind.removesuffix(" narrow") in INSIDE else 0.0
    return float(0.001 + 0.02 * mmacs + 0.2 * (read + written) + 0.05 * weights + changes)


def device_ms(graph: Graph) -> float:
    """A graph there: relu vanishes behind convolutions, and neighbours change layouts once."""
    kernels = graph_kernels(graph)
    fused = tuple((head, "relu") for head in ("conv", "pointwise", "depthwise", "grouped"))
    rules = Rules(fused, INSIDE, ("relu6", "hard_swish", "hard_sigmoid", "sigmoid", "add"), LAYOUT_MS)
    groups = group_kernels(kernels, rules)
    return IDLE_MS + sum(alone_ms(kernels[group.members[0]]) - group.saved_ms for group in groups)


@pytest.fixture(scope="module")
def design() -> OperatorDesign:
    return first_design(scale=0.05)


@pytest.fixture(scope="module")
def costs(design: OperatorDesign) -> OperatorCosts:
    def visits(ms: float) -> FloatArray:
        return np.full(4, ms)

    blocks = {key: visits(device_ms(sample.graph())) for key, sample in design.samples.items()}
    blocks[IDLE.key] = visits(IDLE_MS / 0.9)
    del blocks[IDLE_CHAIN.key]
    networks = {key: visits(device_ms(graph)) for key, (_, graph) in design.networks.items()}
    seen = Observations(TARGET, "", Clock.WALL, {Role.BLOCK: blocks, Role.CALIBRATION: networks})
    return learn_costs(design, [seen], {"hardware": "made up"})


def test_fusion_and_layouts_are_found_by_test(costs: OperatorCosts) -> None:
    assert set(costs.rules.fused) == {(head, "relu") for head in ("conv", "depthwise", "grouped", "pointwise")}
    assert set(costs.rules.inside) == set(INSIDE)
    assert {"relu6", "hard_swish", "sigmoid", "add"} <= set(costs.rules.through)
    assert "arithmetic spread runs" not in costs.rules.through
    assert costs.rules.saved_ms == pytest.approx(LAYOUT_MS, rel=0.1)


def test_networks_that_were_not_seen_are_predicted(costs: OperatorCosts) -> None:
    others = [graph for _, graph in draw_networks(seed=7, each=1)]
    errors = [costs.estimate(graph).mean_ms / device_ms(graph) - 1 for graph in others]
    assert np.mean(np.abs(errors)) < 0.08


def test_padding_is_taken_off_what_stands_behind_it() -> None:
    lite = replace(TARGET, runtime="tflite-cpu")
    drawn = draw_singles({"pad": 24, "conv": 40, "max_pool": 16})
    design = OperatorDesign({sample.key: sample for sample in (IDLE, *drawn)}, (), {})

    def whole_ms(graph: Graph) -> float:
        return IDLE_MS + sum(alone_ms(kernel) for kernel in kernels_on(lite, graph))

    blocks = {key: np.full(4, whole_ms(sample.graph())) for key, sample in design.samples.items()}
    blocks[IDLE.key] = np.full(4, IDLE_MS / 0.9)
    padded = [key for key in blocks if len(kernels_on(lite, design.samples[key].graph())) == 2]
    assert len(padded) > 3
    found = learn_costs(design, [Observations(lite, "", Clock.WALL, {Role.BLOCK: blocks})], {})
    for key in padded:
        graph = design.samples[key].graph()
        parts = found.estimate(graph).parts
        assert all(part.is_known for part in parts)
        assert parts[0].kind == "pad"
        assert parts[0].ms == pytest.approx(alone_ms(kernels_on(lite, graph)[0]), rel=0.05)


def test_files_that_are_mostly_padding_tell_nothing_of_pools_if_others_do() -> None:
    """As if pools cost nothing behind padding: sixteen that stand alone say otherwise."""
    lite = replace(TARGET, runtime="tflite-cpu")
    drawn = draw_singles({"pad": 24, "max_pool": 60})
    design = OperatorDesign({sample.key: sample for sample in (IDLE, *drawn)}, (), {})
    blocks, padded = {IDLE.key: np.full(4, IDLE_MS / 0.9)}, 0
    for sample in drawn:
        kernels = kernels_on(lite, sample.graph())
        padded += len(kernels) == 2
        blocks[sample.key] = np.full(4, IDLE_MS + 4 * alone_ms(kernels[0]) * (1 if kernels[0].kind == "pad" else 0.25))
    found = learn_costs(design, [Observations(lite, "", Clock.WALL, {Role.BLOCK: blocks})], {}).kinds["max_pool2d"]
    assert padded > 10
    assert found.samples == 60 - padded
    assert found.rms < 0.05


def test_a_budget_too_short_for_the_smallest_file_says_so() -> None:
    design = OperatorDesign({sample.key: sample for sample in (IDLE, *draw_singles({"relu": 8}))}, (), {})
    blocks = {key: np.full(1, 0.1) for key in list(design.samples)[1:4]}
    seen = Observations(TARGET, "", Clock.WALL, {Role.BLOCK: blocks}, seconds=2.0)
    with pytest.raises(InputError, match="visited 3 of 9 operators in 2 s") as raised:
        learn_costs(design, [seen], {})
    assert "--budget" in raised.value.remedy


@pytest.mark.parametrize(("chain_ms", "idle_ms"), [(0.0146, 0.0044), (0.1, 0.0025), (0.004, 0.005), (None, 0.0045)])
def test_idle_is_what_a_file_takes_beyond_its_operators(chain_ms: float | None, idle_ms: float) -> None:
    """Sixteen more of a single number tell what one takes; what noise says beyond that is cut off."""
    blocks = {IDLE.key: np.full(4, 0.005)} | ({} if chain_ms is None else {IDLE_CHAIN.key: np.full(4, chain_ms)})
    design = OperatorDesign({sample.key: sample for sample in (IDLE, IDLE_CHAIN)}, (), {})
    found = learn_costs(design, [Observations(TARGET, "", Clock.WALL, {Role.BLOCK: blocks})], {})
    assert found.idle_ms == pytest.approx(idle_ms)


def test_chains_of_tiny_operators_are_as_unsure_as_what_was_taken_off_each(costs: OperatorCosts) -> None:
    builder = GraphBuilder("chain")
    data = builder.input("x", (1, 4))
    for _ in range(100):
        data = builder.add("sigmoid", (data,))
    found = costs.estimate(builder.build([data]))
    assert len(found.parts) == 100
    assert found.std_ms >= 0.1 * costs.idle_ms * 100


def test_what_a_head_computes_in_part_is_a_member_of_its_group(costs: OperatorCosts) -> None:
    graph = Sample.parse("1x16x28x28|conv:16x1x1x1x1|relu6|conv:16x1x1x1x1").graph()
    apart = replace(costs, rules=replace(costs.rules, partly=()))
    joined = replace(costs, rules=replace(costs.rules, partly=(("pointwise", "relu6", 0.25),)))
    before, (first, second) = apart.estimate(graph).parts, joined.estimate(graph).parts
    assert (first.name, first.fused, first.partly) == (before[0].name, (before[1].name,), (before[1].name,))
    assert first.ms == pytest.approx(before[0].ms + 0.75 * before[1].ms, rel=0.02)
    assert (second.ms, second.partly) == (pytest.approx(before[2].ms), ())
    unknown = replace(joined, kinds={name: kind for name, kind in joined.kinds.items() if name != "relu6"})
    assert [part.is_known for part in unknown.estimate(graph).parts] == [True, False, True]


def test_parts_make_up_the_whole(costs: OperatorCosts, design: OperatorDesign) -> None:
    _, graph = design.networks["inverted 0"]
    found = costs.estimate(graph)
    assert found.mean_ms == pytest.approx(costs.scales.base_ms + sum(part.ms for part in found.parts))
    named = [name for part in found.parts for name in (part.name, *part.fused)]
    assert len(named) == len(set(named)) == len(graph_kernels(graph))


def behind_a_relu(family: str, **attributes: Any) -> Graph:
    builder = GraphBuilder("strange")
    data = builder.add("relu", (builder.input("x", (1, 256, 512)),))
    return builder.build([builder.add(family, (data,), **attributes)])


@pytest.mark.parametrize(("function", "times"), [("abs", 1.5), ("mish", 10)])
def test_unknown_operators_get_an_allowance_and_count_with_the_most_they_may_take(
    costs: OperatorCosts, function: str, times: float
) -> None:
    found = costs.estimate(behind_a_relu("elementwise", function=function))
    known, strange = found.parts
    assert (known.is_known, strange.is_known, strange.is_bounded, strange.is_beyond) == (True, False, True, False)
    assert strange.most_ms > times * strange.ms
    rest = found.mean_ms - strange.ms
    assert found.known_share == pytest.approx(rest / (rest + strange.most_ms))
    assert interval_90(found.mean_ms, found.std_ms, Tier.ESTIMATED)[1] >= found.mean_ms + strange.most_ms


def test_nothing_is_known_of_a_network_with_operators_that_nobody_can_bound(costs: OperatorCosts) -> None:
    said = {"shapes": ((1, 4),), "dtypes": ("float32",), "layouts": ("",)}
    found = costs.estimate(behind_a_relu("opaque", kind="Loop", **said))
    assert (found.known_share, [part.is_bounded for part in found.parts]) == (0.0, [True, False])
    assert interval_90(found.mean_ms, found.std_ms, Tier.ESTIMATED)[1] > 100 * found.mean_ms


def test_windows_that_look_around_more_than_measured_are_not_known(costs: OperatorCosts) -> None:
    kind = costs.kinds["max_pool2d"]
    for kernel, stride, is_known in ((3, 1, True), (13, 13, True), (17, 1, False)):
        builder = GraphBuilder("pool")
        data = builder.input("x", (1, 16, 26, 26), layout="NCHW")
        pads = ((kernel - 1) // 2 if stride == 1 else 0,) * 4
        pool = builder.add("max_pool2d", (data,), kernel=(kernel,) * 2, stride=(stride,) * 2, padding=pads)
        (part,) = costs.estimate(builder.build([pool])).parts
        assert (part.is_known, part.is_beyond) == (is_known, not is_known)
        if not is_known:
            assert part.most_ms > 17**2 / kind.highest[FEATURES.index("window")] * part.ms * 0.9


def test_a_kind_that_was_measured_twice_is_not_known(costs: OperatorCosts) -> None:
    kind = costs.kinds["linear"]
    assert kind.reaches(kind.highest)
    assert not replace(kind, samples=2).reaches(kind.highest)


def test_less_than_was_measured_is_told_less_surely(costs: OperatorCosts) -> None:
    kind, written = costs.kinds["resize cubic"], FEATURES.index("written")
    small = kind.lowest.copy()
    assert kind.error(small) == kind.doubts(small)
    small[written] /= 50
    assert kind.error(small) > 1.5


def test_weights_cost_nothing_more_on_a_device_without_caches(costs: OperatorCosts) -> None:
    assert costs.scales.thin_cache_melements > 0
    assert costs.scales.per_thin_mweight == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("key", ["lstm", "reduce max ork", "linear"])
def test_sizes_far_from_those_measured_are_not_known(costs: OperatorCosts, key: str) -> None:
    kind, inner = costs.kinds[key], FEATURES.index("inner")
    assert kind.reaches(kind.highest)
    for sizes, factor in ((kind.highest, 5), (kind.lowest, 1 / 5)):
        changed = sizes.copy()
        changed[inner] *= factor
        assert not kind.reaches(changed)


def test_what_onnx_runtime_computes_once_is_counted_once_and_what_nobody_reads_is_counted(costs: OperatorCosts) -> None:
    def convolved(count: int) -> Graph:
        builder = GraphBuilder("twice")
        data = builder.input("x", (1, 16, 26, 26), layout="NCHW")
        weight = builder.weight("w", np.zeros((16, 16, 3, 3), np.float32))
        made = [builder.conv2d(data, weight, padding=1) for _ in range(count)]
        builder.conv2d(made[0], weight, padding=1)
        return builder.build([builder.add("add", (made[0], made[-1]))])

    assert [part.kind for part in costs.estimate(convolved(2)).parts] == ["conv", "conv", "add"]
    assert costs.estimate(convolved(2)).mean_ms == costs.estimate(convolved(1)).mean_ms
    as_written = replace(costs, target=replace(costs.target, runtime="litert")).estimate(convolved(2))
    assert [part.kind for part in as_written.parts].count("conv") == 3


def test_sizes_far_beyond_what_was_measured_are_not_known(costs: OperatorCosts) -> None:
    builder = GraphBuilder("huge")
    data = builder.input("x", (1, 4096, 65536))
    assert costs.estimate(builder.build([builder.add("relu", (data,))])).known_share < 0.5


def test_samples_of_any_size_are_among_those_of_networks() -> None:
    drawn = draw_singles({"conv": 60, "layer_norm": 40, "max_pool_odd": 40})
    keys = [sample.key for sample in drawn]
    results = [sample.stages[0].numbers[0] for sample in drawn if sample.stages[0].name == "conv"]
    assert sum(count < 8 for count in results) > 3
    assert sum(sample.shape[-1] % 2 for sample in drawn if sample.stages[0].name == "layer_norm") > 3
    assert any("max_pool:3x3" in key or "max_pool:2x1" in key for key in keys)


def test_kinds_that_no_network_holds_are_drawn_again_too(costs: OperatorCosts, design: OperatorDesign) -> None:
    poor = replace(
        costs, kinds={k: replace(c, mape=90.0 if k == "resize cubic" else 0.1) for k, c in costs.kinds.items()}
    )
    drawn = draw_more(design, poor, 40, seed=0).samples
    assert sum("resize" in key for key in drawn) > 10


def test_old_costs_without_surfaces_doubt_all_of_a_kind_alike(costs: OperatorCosts) -> None:
    kind = replace(costs.kinds["linear"], surface=None, smoothed=0.0, trees=None)
    assert kind.doubts(kind.lowest) == kind.doubts(2 * kind.highest) == kind.rms
    assert costs.kinds["linear"].doubts(4 * kind.highest) > costs.kinds["linear"].doubts(kind.highest)


def test_more_samples_go_to_the_kinds_that_are_told_worst(costs: OperatorCosts, design: OperatorDesign) -> None:
    poor = replace(costs, kinds={k: replace(c, mape=40.0 if k == "depthwise" else 0.1) for k, c in costs.kinds.items()})
    drawn = draw_more(design, poor, 40, seed=0).samples
    found = [graph_kernels(sample.graph())[0].kind for sample in drawn.values()]
    assert found.count("depthwise") > 20
    assert not (set(drawn) - {IDLE.key}) & set(design.samples)


def test_files_of_costs_come_back_equal(costs: OperatorCosts, design: OperatorDesign, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = save_costs(costs, workspace)
    assert path == costs_path(workspace, TARGET, Clock.WALL)
    again = load_costs(path)
    _, graph = design.networks["residual 3"]
    assert again.estimate(graph) == costs.estimate(graph)
    assert again.rules == costs.rules
    assert [one.target for one in list_costs(workspace)[0]] == [TARGET]


def test_costs_are_read_once_and_again_when_their_file_is_another(costs: OperatorCosts, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = save_costs(costs, workspace)
    first = load_costs(path)
    assert load_costs(path) is first
    save_costs(replace(costs, seconds=costs.seconds + 1), workspace)
    assert load_costs(path).seconds == costs.seconds + 1
    path.write_text("{}")
    with pytest.raises(FileError, match="no whole file of operator costs"):
        load_costs(path)


def test_files_say_whose_costs_they_are_before_their_numbers(costs: OperatorCosts, tmp_path: Path) -> None:
    workspace, other = Workspace(tmp_path), replace(TARGET, device="another")
    path = save_costs(replace(costs, started_ns=5), workspace)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    save_costs(replace(costs, target=other), workspace)
    found, damaged = list_costs(workspace)
    assert ([one.target for one in found], damaged) == ([TARGET, other], [])
    assert found[1].load().target == other
    with pytest.raises(FileError, match="file of operator costs"):
        found[0].load()
    older = json.loads(text)
    del older["about"]
    path.write_text(json.dumps(older))
    assert [one.about.started_ns for one in list_costs(workspace)[0]] == [5, 0]


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "fleetfront.operator-costs/3", "costs": {}}', "[1]"])
def test_damaged_files_of_costs_are_refused(text: str, tmp_path: Path) -> None:
    path = costs_path(Workspace(tmp_path), TARGET, Clock.WALL)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(FileError, match="file of operator costs"):
        load_costs(path)
    found, damaged = list_costs(Workspace(tmp_path))
    assert (found, len(damaged)) == ([], 1)


def test_a_tail_that_keeps_its_time_is_not_fused() -> None:
    kept = [ChainTest("fused", ("pointwise", "tanh"), 2.0, (1.0, 1.0), 0.1) for _ in range(4)]
    gone = [ChainTest("fused", ("pointwise", "relu"), 1.02, (1.0, 0.3), 0.1) for _ in range(4)]
    rules = find_rules([*kept, *gone])
    assert ("pointwise", "relu") in rules.fused
    assert all(tail != "tanh" for _, tail in rules.fused)


def test_a_result_that_others_read_is_not_fused_away() -> None:
    builder = GraphBuilder("branch")
    data = builder.input("x", (1, 16, 8, 8), layout="NCHW")
    weight = builder.weight("w", np.ones((16, 16, 1, 1), np.float32))
    made = builder.conv2d(data, weight)
    graph = builder.build([builder.add("add", (builder.add("relu", (made,)), made))])
    groups = group_kernels(graph_kernels(graph), Rules((("pointwise", "relu"),)))
    assert [group.members for group in groups] == [(0,), (1,), (2,)]
