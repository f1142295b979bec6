"""Commands for the reader's own phone are spelled well."""

from fleetfront.report.section import Report
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
