"""Checkpoints are written when there is something new, where there is a folder for them."""

import numpy as np

from fleetfront.search.checkpoints import ARCHIVE_FILE, Checkpoints


def test_an_archive_is_written_once_for_what_is_new(make_problem, tmp_path):
    problem = make_problem()
    kept = Checkpoints(problem, None, tmp_path, {"space": "mini"}, {})
    path = tmp_path / ARCHIVE_FILE
    kept.save()
    assert not path.exists()
    problem.evaluate(problem.sample(5, np.random.default_rng(0)))
    kept.save()
    written = path.stat().st_mtime_ns
    kept.save()
    assert path.stat().st_mtime_ns == written
    problem.evaluate(problem.sample(5, np.random.default_rng(1)))
    kept.save()
    assert path.stat().st_mtime_ns > written


def test_without_a_folder_nothing_is_written(make_problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem = make_problem()
    kept = Checkpoints(problem, None, None, {}, {})
    problem.evaluate(problem.sample(5, np.random.default_rng(0)))
    kept.save()
    kept.finish()
    assert list(tmp_path.iterdir()) == []
