"""The tables of the measurement store, and opening a file as one: new, of this version, or refused with a reason.

What is written to and read from the tables is in ``store``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.files import disk_full, explained_os_error

#: Marks a SQLite file as ours ("flft"), see https://sqlite.org/pragma.html#pragma_application_id
APPLICATION_ID = 0x666C6674

#: Goes up with every change of what rows hold; ``_MIGRATIONS[n]`` leads from version n to n + 1. Since version 2 new
#: samples end with a checksum, which older programs would take for a sample. Since version 3 new rows of one visit
#: share its conditions, which are more than half of what a row takes. Since version 4 new visits share the layout of
#: their conditions, and new samples take 4 bytes where those hold them. Older rows stay as they are.
VERSION = 4
WITH_VISITS, WITH_LAYOUTS = 3, 4

_TABLES = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, licence TEXT NOT NULL, url TEXT NOT NULL, sha256 TEXT NOT NULL,
    imported_ns INTEGER NOT NULL, UNIQUE (name, sha256));
CREATE TABLE series (
    id INTEGER PRIMARY KEY, target TEXT NOT NULL, space TEXT NOT NULL, role TEXT NOT NULL, key TEXT NOT NULL,
    metric TEXT NOT NULL, unit TEXT NOT NULL, clock TEXT NOT NULL,
    UNIQUE (target, space, role, key, metric, unit, clock));
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, series INTEGER NOT NULL REFERENCES series,
    campaign TEXT NOT NULL, round INTEGER NOT NULL, started_ns INTEGER NOT NULL,
    samples BLOB NOT NULL,
    before TEXT, after TEXT, flags TEXT, error TEXT,
    source INTEGER REFERENCES sources);
CREATE INDEX measurements_by_series ON measurements (series, campaign);
CREATE INDEX measurements_by_campaign ON measurements (campaign, started_ns);
CREATE TABLE campaigns (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, space TEXT NOT NULL, identity TEXT NOT NULL, plan TEXT NOT NULL,
    environment TEXT NOT NULL, started_ns INTEGER NOT NULL);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, campaign TEXT NOT NULL REFERENCES campaigns, started_ns INTEGER NOT NULL);
CREATE TABLE endings (
    session INTEGER PRIMARY KEY REFERENCES sessions, ended_ns INTEGER NOT NULL, reason TEXT NOT NULL,
    finished INTEGER NOT NULL);
"""

#: Answer what is held of each target, and how far a campaign is, without a look at samples and conditions. A store of
#: this version that was made without them gets them from its next writer.
_INDICES = {
    "measurements_held": "(series, source, started_ns) WHERE error IS NULL",
    "measurements_begun": "(campaign, started_ns, round)",
}

_APPEND_ONLY = "\n".join(
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} BEGIN "
    "SELECT RAISE(ABORT, 'the store is append-only'); END;"
    for table in ("sources", "series", "measurements", "campaigns", "sessions", "endings")
    for verb in ("update", "delete")
)
_VISITS = """
CREATE TABLE visits (id INTEGER PRIMARY KEY, before TEXT, after TEXT);
ALTER TABLE measurements ADD COLUMN visit INTEGER REFERENCES visits;
CREATE TRIGGER visits_no_update BEFORE UPDATE ON visits BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END;
CREATE TRIGGER visits_no_delete BEFORE DELETE ON visits BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END;
"""
_LAYOUTS = """
CREATE TABLE layouts (id INTEGER PRIMARY KEY, template TEXT NOT NULL, format TEXT NOT NULL, UNIQUE (template, format));
ALTER TABLE visits ADD COLUMN layout INTEGER REFERENCES layouts;
ALTER TABLE visits ADD COLUMN numbers BLOB;
CREATE TRIGGER layouts_no_update BEFORE UPDATE ON layouts BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END;
CREATE TRIGGER layouts_no_delete BEFORE DELETE ON layouts BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END;
DROP INDEX IF EXISTS measurements_by_campaign;
DROP INDEX IF EXISTS measurements_by_round;
"""

#: How long another process may keep the file for itself.
_BUSY_S = 10.0

#: Only writers migrate, so readers take rows of every version.
_MIGRATIONS: dict[int, str] = {1: "", 2: _VISITS, 3: _LAYOUTS}
_TABLE_NAMES = frozenset({"sources", "series", "measurements", "campaigns", "sessions", "endings"})


def version_of(connection: sqlite3.Connection, schema: str = "main") -> int:
    """The version of an open store: one that is only read may be older than ``VERSION``."""
    (version,) = connection.execute(f"PRAGMA {schema}.user_version").fetchone()
    return int(version)


def open_database(path: Path, must_exist: bool = False) -> sqlite3.Connection:
    """Connect to the store at ``path``, making or migrating its tables.

    Raises:
        InputError: if the file is corrupt, belongs to another program or to a newer fleetfront, cannot be written, or
            ``must_exist`` and there is none.
    """
    if must_exist:
        _check_exists(path)
    _check_regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained_os_error(error, path.parent) from error
    with explained(path):
        # As a URI, so that a store beside it can be attached as one.
        connection = sqlite3.connect(path.absolute().as_uri(), timeout=_BUSY_S, isolation_level=None, uri=True)
        connection.text_factory = decoded
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Connect to the store at ``path``, to which nothing can be written then, in a folder that may be read-only.

    In such a folder a store is read as a file that does not change, which holds if nobody has it open; whoever begins
    to write to it while it is read there is not noticed.

    Raises:
        InputError: if there is none, it is empty, corrupt, of another program or of a newer fleetfront, or cannot be
            read where it lies.
    """
    _check_exists(path)
    _check_regular(path)
    with explained(path):
        try:
            # Not mode=ro, which leaves SQLite's log and index beside the store.
            return _connect_to_read(path, "mode=rw")
        except sqlite3.OperationalError as error:
            if not _is_kept_out(error):
                raise
        _check_unused(path)
        try:
            return _connect_to_read(path, "immutable=1")
        except sqlite3.OperationalError as error:
            if not _is_kept_out(error):
                raise
            raise InputError(f"{path} cannot be read ({error}).", "Check its permissions.") from error


def attach_to_read(connection: sqlite3.Connection, path: Path, name: str) -> None:
    """Make the store at ``path`` readable through ``connection`` under a name, in a folder that may be read-only.

    Raises InputError as ``open_for_reading`` does, on which ``path`` has been looked at before.
    """
    for how in ("mode=rw", "immutable=1"):
        try:
            connection.execute(f"ATTACH ? AS {name}", (f"{path.absolute().as_uri()}?{how}",))
            connection.execute(f"SELECT count(*) FROM {name}.sqlite_master").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not _is_kept_out(error) or how != "mode=rw":
                raise
        if name in [row[1] for row in connection.execute("PRAGMA database_list")]:
            connection.execute(f"DETACH {name}")
        _check_unused(path)


def _connect_to_read(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, timeout=_BUSY_S, isolation_level=None, uri=True)
    connection.text_factory = decoded
    try:
        connection.execute("PRAGMA query_only = ON")
        if _checked_version(connection, path) == 0:
            raise InputError(
                f"{path} is empty: it is no store of measurements.",
                "Name the file that `fleetfront profile` wrote, or fill this one with: fleetfront profile --device cpu",
            )
    except BaseException:
        connection.close()
        raise
    return connection


def decoded(data: bytes) -> str:
    """Text of a cell; bytes that are none stand out, and cost no other row."""
    return data.decode("utf-8", errors="replace")


def _check_unused(path: Path) -> None:
    """Raise InputError if a log or its index lies beside the store: what it holds would be left out, unseen."""
    real = path.resolve()
    beside = [real.with_name(real.name + ending) for ending in ("-wal", "-shm")]
    names = [file.name for file in beside if file.exists() and file.stat().st_size]
    if names:
        raise InputError(
            f"{path} cannot be read in a folder that cannot be written: its newest rows are in {' and '.join(names)}.",
            f"Copy it with {' and '.join(names)} to a folder of yours, and name the copy with --store.",
        )


def _check_regular(path: Path) -> None:
    """Raise InputError for a pipe, a device or a folder, which SQLite would wait for or fail on."""
    if path.exists() and not path.is_file():
        inside = path / "store.sqlite"
        remedy = f"Name the store in it: {inside}" if inside.is_file() else "Name a store.sqlite, or one to be made."
        raise InputError(f"{path} is no file.", remedy)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise InputError(
            f"There are no measurements yet: {path} does not exist.", "Run: fleetfront profile --device cpu"
        )


def _is_kept_out(error: Exception) -> bool:
    """Tell whether the system did not let SQLite open or write a file."""
    return "readonly" in str(error) or "unable to open" in str(error)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _checked_version(connection, path)
    _use_write_ahead_log(connection)
    # In WAL mode NORMAL survives the death of the process at any instant; only a power cut may lose the last rows.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if version == VERSION:
        _index(connection)
        return
    connection.execute("BEGIN IMMEDIATE")
    # Asked again under the lock: another process may have made the tables meanwhile.
    version = _checked_version(connection, path)
    steps = (
        [_TABLES + _APPEND_ONLY + _VISITS + _LAYOUTS]
        if version == 0
        else [_MIGRATIONS[step] for step in range(version, VERSION)]
    )
    if version == VERSION:
        steps = []
    for script in steps:
        for statement in _statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    _index(connection)


def _index(connection: sqlite3.Connection) -> None:
    """Make the indices that a store lacks; while another process writes, that waits for the next time."""
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    for name, columns in _INDICES.items():
        if name not in known:
            try:
                connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON measurements {columns}")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Of two processes that do this to a new file at the same moment SQLite refuses one at once, without its time limit:
    # each would wait for the other.
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> Iterator[str]:
    """``executescript`` would commit first; this keeps a script inside the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    # One look at all three: another process may be making the tables right now.
    connection.execute("SAVEPOINT look")
    kinds = dict(connection.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')").fetchall())
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("RELEASE look")
    if application == 0 and version == 0 and not kinds:
        return 0
    if application != APPLICATION_ID:
        raise InputError(
            f"{path} is a SQLite file of another program (application id {application}).",
            "Name another file for the measurements; this one was left untouched.",
        )
    if version > VERSION:
        raise InputError(
            f"{path} was written by a newer fleetfront (store version {version}; this one knows up to {VERSION}).",
            "Upgrade fleetfront, or set FLEETFRONT_HOME to another folder.",
        )
    # A view in place of a table may compute without end, and nothing of ours is a view.
    later = {"visits": WITH_VISITS, "layouts": WITH_LAYOUTS}
    wanted = _TABLE_NAMES | {name for name, since in later.items() if version >= since}
    strange = sorted(name for name in {*kinds, *wanted} if kinds.get(name) != "table")
    if strange:
        raise InputError(
            f"{path} is not a readable store ({strange[0]!r} is not a table of its own).",
            "Move the file away (or restore a copy of it) and run the command again; it was left untouched.",
        )
    return int(version)


@contextmanager
def explained(path: Path, written: Path | None = None) -> Iterator[None]:
    """Turn SQLite's complaints about the file at ``path`` into InputErrors with a remedy; those of writing are about
    ``written`` if that is another file.
    """
    try:
        yield
    # SQLite's own words may quote damaged names, which Python then cannot decode.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _explanation(error, path, written or path) from error


def _explanation(error: Exception, path: Path, written: Path) -> InputError:
    text = str(error)
    if "full" in text:
        return disk_full(written)
    if "locked" in text:
        return InputError(
            f"{path} is in use by another process.", "Wait for the other fleetfront to end, then try again."
        )
    if _is_kept_out(error):
        return InputError(
            f"{written} cannot be opened for writing ({text}).",
            "Check its permissions, or set FLEETFRONT_HOME to a folder of yours.",
        )
    if "disk I/O" in text:
        return InputError(f"The disk that holds {path} reports errors ({text}).", "Check the disk and the free space.")
    if "malformed" in text:
        return InputError(
            f"{path} is damaged ({text}).",
            f"Restore a copy, or save what can be read: fleetfront store rescue --store {path} --out NEW",
        )
    if type(error) in (sqlite3.DatabaseError, UnicodeDecodeError):
        return InputError(
            f"{path} is not a readable store ({text}).",
            "Name a store.sqlite; or move the file away (or restore a copy of it) and run the command again: it was "
            "left untouched. Tables of latencies are read by: fleetfront import table",
        )
    return InputError(f"The store {path} refused a statement ({text}).", "Report this with the version of fleetfront.")
