"""Commands for the reader's own phone are spelled well."""

from pathlib import Path

from fleetfront.report.section import Report
from fleetfront.report.sections.front_views import deploy_options
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.from_torch.remembered import open_family
from tests.spaces.from_torch.conftest import FAMILY
from tests.test_documentation import parse as parse_command


def test_what_to_type_for_ones_own_phone_parses(fleet_report: Report, measured_report: Report) -> None:
    for report in (fleet_report, measured_report):
        views = report.views("own_phone")
        assert len({(one.space, one.steps[2][1]) for one in views}) == len(views)
        for view in views:
            commands = [command for _, command in view.steps]
            assert [command.split()[1] for command in commands] == ["devices", "profile", "search", "deploy"]
            assert view.space in commands[1]
            for command in commands:
                parse_command(command)


def test_files_of_a_users_family_have_the_weights_that_it_gives(tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    options, hint = deploy_options(open_family(tmp_path / "family.py"))
    assert (options, "family.py" in hint) == ("", True)
    assert deploy_options(load_space("nasbench201"))[0] == "--random-weights"
