"""Ten real measurements of this machine, and everything else from devices that nobody measured here."""

import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.cost_models import device_models
from fleetfront.pipelines.few_profile import profile_few
from fleetfront.profilers.store import Store
from fleetfront.quantities import Tier
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


def test_few_networks_of_this_machine_serve_a_search(tmp_path) -> None:
    space, workspace = load_space("ofa-mbv3-mini"), Workspace(tmp_path / "home")
    target = Target("cpu", "onnxruntime")
    with Store(workspace.store) as store:
        outcome = profile_few(space, target, 6, store=store, workspace=workspace, validation=8, rounds=3)
    assert outcome.fit.report.networks == 6
    assert len(outcome.fit.report.teachers) >= 10
    assert outcome.held_out is not None
    assert outcome.held_out.networks == 8
    # A model that learnt nothing ranks by chance (0) and is off by the spread of this family (60 %) or more.
    assert outcome.held_out.spearman > 0.6
    assert outcome.held_out.mape < 40
    data = outcome.to_json()
    assert (data["tier"], data["few"]["networks"]) == ("transferred", 6)
    (found,) = device_models(["cpu"], space, workspace=workspace, store=workspace.store)
    assert (found.model.tier, found.target) == (Tier.TRANSFERRED, target)


def test_too_few_or_contradicting_options_are_refused(tmp_path, capsys) -> None:
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(InputError, match="--few 3"):
        profile_few(load_space("ofa-mbv3-mini"), Target("cpu", "litert"), 2, store=store, workspace=Workspace(tmp_path))
    assert main(["profile", "--space", "ofa-mbv3-mini", "--few", "5", "--target-error", "3"]) == 2
    assert "--validation 10" in capsys.readouterr().err
