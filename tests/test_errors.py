from fleetfront.errors import FleetfrontError, missing, unknown


def test_near_names_come_first() -> None:
    error = unknown("verb", "serach", ["search", "fit", "report"])
    assert str(error) == "Unknown verb 'serach'. Did you mean 'search'?"
    assert unknown("device", "PIXEL3", ["pixel3", "raspi4"]).remedy == "Did you mean 'pixel3'?"


def test_far_names_are_listed_and_many_are_counted() -> None:
    few = [f"n{index:02d}" for index in range(16)]
    assert unknown("thing", "zzz", few).remedy == f"Known: {', '.join(few)}."
    many = [f"n{index:02d}" for index in range(20)]
    assert unknown("thing", "zzz", many).remedy == f"Known: {', '.join(many[:15])} and 5 more."
    assert unknown("thing", "zzz", []).remedy == "None is known yet."


def test_a_missing_package_names_its_extra_and_exit_code() -> None:
    error: FleetfrontError = missing("torch", "torch", "Training")
    assert error.exit_code == 4
    assert error.remedy == "Run: pip install 'fleetfront[torch]'"
