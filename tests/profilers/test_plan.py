from __future__ import annotations

import json

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.profilers.plan import PlanOptions, RoundOptions, TaskList, campaign_identity, make_plan, spread_out
from fleetfront.profilers.records import Role
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target


def keys(plan_items: object, role: Role) -> list[str]:
    return [item.key for item in plan_items if item.role == role]  # type: ignore[attr-defined]


def test_a_space_of_many_resolutions_is_measured_at_its_ends_and_middle() -> None:
    space = load_space("ofa-mbv3-w1.0")
    plan = make_plan(space, PlanOptions(calibration=20, validation=50))
    blocks = keys(plan.items, Role.BLOCK)
    assert {side for side in (128, 176, 224) if any(f"@3x{side}x{side}" in key for key in blocks)} == {128, 176, 224}
    assert sum("@3x" in key for key in blocks) == 3, "one stem for each of three resolutions"
    everything = {space.vocabulary[i].key for side in (128, 176, 224) for i in space.blocks_at(side)}  # type: ignore[attr-defined]
    assert set(blocks) == everything
    networks = keys(plan.items, Role.CALIBRATION) + keys(plan.items, Role.VALIDATION)
    assert len(networks) == len(set(networks)) == 70
    assert plan.anchor.key in blocks


def test_blocks_all_and_none() -> None:
    space = load_space("ofa-mbv3-mini")
    every = make_plan(space, PlanOptions(calibration=1, validation=0, blocks="all"))
    assert len(keys(every.items, Role.BLOCK)) == len(space.vocabulary)
    none = make_plan(space, PlanOptions(calibration=3, validation=0, blocks="none"))
    assert not keys(none.items, Role.BLOCK)
    assert none.anchor.key in keys(none.items, Role.CALIBRATION)
    with pytest.raises(InputError, match="nothing to measure"):
        make_plan(space, PlanOptions(calibration=0, validation=0, blocks="none"))


def test_the_seed_decides_and_validation_does_not_depend_on_calibration() -> None:
    space = load_space("ofa-mbv3-mini")
    few, many, other = (
        make_plan(space, PlanOptions(seed=seed, calibration=count, validation=6, blocks="none"))
        for seed, count in ((1, 4), (1, 9), (2, 4))
    )
    assert keys(few.items, Role.VALIDATION) == keys(many.items, Role.VALIDATION)
    assert keys(few.items, Role.CALIBRATION) == keys(many.items, Role.CALIBRATION)[:4]
    assert keys(few.items, Role.VALIDATION) != keys(other.items, Role.VALIDATION)


def test_disconnected_cells_are_not_sampled() -> None:
    space = load_space("nasbench201")
    plan = make_plan(space, PlanOptions(calibration=150, validation=150))
    archs = keys(plan.items, Role.CALIBRATION) + keys(plan.items, Role.VALIDATION)
    assert len(archs) == 300
    assert not space.disconnected(space.parse(archs)).any()  # type: ignore[attr-defined]


def test_given_networks_join_the_sampled_ones_once() -> None:
    space = load_space("ofa-mbv3-mini")
    given = tuple(space.arch_ids(space.sample(3, np.random.default_rng(5))))
    options = PlanOptions(calibration=2, validation=0, blocks="none", networks={"calibration": given})
    found = keys(make_plan(space, options).items, Role.CALIBRATION)
    assert found[:3] == list(given)
    assert len(set(found)) == 5


def test_the_anchor_is_a_block_at_three_quarters_of_the_work() -> None:
    space = load_space("ofa-mbv3-mini")
    plan = make_plan(space, PlanOptions(calibration=0, validation=0))
    work = {item.key: graph_macs(item.graphs()[item.key]) for item in plan.items}
    share = np.mean([macs < work[plan.anchor.key] for macs in work.values()])
    assert 0.6 < share < 0.9
    blocks = {block.key: block for block in space.vocabulary}
    key = next(iter(work))
    assert work[key] == space.block_macs([blocks[key]])[0]  # type: ignore[attr-defined]


def test_a_task_list_survives_json() -> None:
    space = load_space("ofa-mbv3-mini")
    plan = make_plan(space, PlanOptions(calibration=2, validation=2, blocks="none"))
    tasks = plan.written(lambda graph, _: graph.content_hash)
    assert TaskList.from_json(json.loads(json.dumps(tasks.to_json()))) == tasks
    assert len({task.file for task in tasks.tasks}) == 4


def test_the_identity_follows_everything_that_matters(target: Target) -> None:
    base = campaign_identity(target, "s", PlanOptions(), {"cpu": "a"})
    assert base == campaign_identity(target, "s", PlanOptions(), {"cpu": "a"})
    others = {
        campaign_identity(Target("cpu", "litert"), "s", PlanOptions(), {"cpu": "a"}),
        campaign_identity(target, "t", PlanOptions(), {"cpu": "a"}),
        campaign_identity(target, "s", PlanOptions(seed=1), {"cpu": "a"}),
        campaign_identity(target, "s", PlanOptions(networks={"calibration": ("x",)}), {"cpu": "a"}),
        campaign_identity(target, "s", PlanOptions(), {"cpu": "b"}),
    }
    assert len(others | {base}) == 6


@pytest.mark.parametrize("wrong", [{"blocks": "some"}, {"calibration": -1}, {"timed_runs": 0}, {"anchor_every": 0}])
def test_impossible_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PlanOptions(**wrong)  # type: ignore[arg-type]


def test_calibration_networks_fill_the_range_of_sizes() -> None:
    space = load_space("ofa-mbv3-w1.0")
    pool = space.sample(400, np.random.default_rng(5))
    chosen = pool[spread_out(space, pool, 20)]
    assert len({row.tobytes() for row in chosen}) == 20
    sizes, picked = np.log(space.macs(pool)), np.log(space.macs(chosen))
    assert picked.max() == sizes.max()
    assert picked.min() < np.quantile(sizes, 0.02)
    assert picked.std() > 1.3 * sizes.std()
    assert len(spread_out(space, pool[:3], 20)) == 3
    assert len(spread_out(space, pool, 0)) == 0


def test_defaults_are_those_that_the_command_tells() -> None:
    from fleetfront.cli.profile.command import profile

    told = {parameter.name: parameter.default for parameter in profile.params}
    assert PlanOptions().validation == told["validation"]
    assert PlanOptions().calibration == 20


def test_files_are_visited_as_a_spaces_networks_are() -> None:
    """Files that are deployed keep what the profile's fit promised only if a visit is the same visit."""
    assert PlanOptions().rounds == RoundOptions()
