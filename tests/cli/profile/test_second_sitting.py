"""A device that is lost in the sitting which ends a long profile: what was measured is fitted, and said what failed."""

import json
from collections.abc import Callable

import pytest

from fleetfront.errors import DeviceError
from fleetfront.pipelines.fit import recalibrate


def test_what_was_measured_is_fitted(
    told: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pulled_out(*_: object, **__: object) -> None:
        raise DeviceError("The phone is gone.", "Plug it in again.")

    monkeypatch.setattr(recalibrate, "end_long_profile", pulled_out)
    options = ["--device", "cpu", "--space", "ofa-mbv3-mini", "--calibration", "5", "--validation", "0"]
    options += ["--budget", "2m", "--target-error", "99"]
    code, out, err = told("profile", *options, "--json", "-q")
    assert code == 3, err
    assert json.loads(out)["fit"]["path"]
    assert "failed: The phone is gone. The model above knows the first alone." in err
    assert "fleetfront fit --device cpu --runtime litert --space ofa-mbv3-mini --recalibrate" in err
