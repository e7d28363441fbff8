"""SQL queries whose rows are looked up beside a stream: DuckDB in this process, or a database through ADBC."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from windrow.errors import PlanError
from windrow.secret import Secret

#: Scheme of a connection -> the ADBC driver's package.
_DRIVERS = {
    "sqlite": "adbc_driver_sqlite",
    "postgresql": "adbc_driver_postgresql",
    "postgres": "adbc_driver_postgresql",
    "snowflake": "adbc_driver_snowflake",
    "grpc": "adbc_driver_flightsql",
    "grpc+tls": "adbc_driver_flightsql",
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query and where it is asked; `load` connects, reads all rows and closes the connection again."""

    sql: str
    connection: Secret

    def __str__(self) -> str:
        scheme, place = _parts(self.connection.reveal())
        return f"query {' '.join(self.sql.split())!r} of {scheme} {place}".rstrip()

    def load(self) -> pa.Table:
        """The rows, as Arrow; raises `PlanError` when they cannot be had, without what the connection keeps secret."""
        uri = self.connection.reveal()
        scheme, _ = _parts(uri)
        try:
            return _duckdb(self.sql, uri) if scheme == "duckdb" else _adbc(self.sql, uri, _DRIVERS[scheme])
        except PlanError:
            raise
        except Exception as error:
            raise PlanError(f"{self}: {_without(str(error), uri)}") from None


def query(sql: str, connection: str | Secret) -> Query:
    """The rows of a SQL query, for `Stream.join_lookup`, which asks it again with ``refresh=...``.

    `connection`: ``duckdb:///folder/file.db`` (opened for reading only, and not between loads; ``duckdb://`` is a
    database in memory, for queries over files: ``select * from 'users/*.parquet'``), or what ADBC has a driver for:
    ``sqlite:///folder/file.db``, ``postgresql://...``, ``snowflake://...``, ``grpc://...`` (Flight SQL). It may be a
    `Secret`; credentials in it are never shown. Raises `PlanError` for another scheme; a driver that is not installed
    is said when the plan is made.
    """
    if not isinstance(sql, str) or not sql.strip():
        raise PlanError(f"query: expected a SQL query, got {sql!r}")
    held = connection if isinstance(connection, Secret) else Secret(connection)
    scheme, _ = _parts(held.reveal())
    if scheme != "duckdb" and scheme not in _DRIVERS:
        known = ", ".join(["duckdb", *_DRIVERS])
        raise PlanError(f"query: no driver for a connection of scheme {scheme!r}; there are: {known} (scheme://...)")
    return Query(sql, held)


def _parts(uri: str) -> tuple[str, str]:
    """The scheme, and host or file, without user, password and options."""
    split = urlsplit(uri)
    host = split.hostname or ""
    port = uri_port(split)
    return split.scheme, f"{host}{port}{split.path if split.scheme in ('duckdb', 'sqlite') else ''}"


def uri_port(split: Any) -> str:
    try:
        return f":{split.port}" if split.port is not None else ""
    except ValueError:
        return ""


def _without(text: str, uri: str) -> str:
    """What a driver said, without the connection that it may repeat."""
    split = urlsplit(uri)
    for secret in (uri, split.netloc if "@" in split.netloc else "", split.password or "", split.query):
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())


def _driver(module: str, install: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise PlanError(f"query: {module.split('.', maxsplit=1)[0]} is not installed: {install}") from None


def _file(uri: str) -> str:
    """``scheme:///folder/file`` is an absolute path, ``scheme://file`` a relative one, as is ``scheme:file``."""
    split = urlsplit(uri)
    return split.netloc + split.path


def _duckdb(sql: str, uri: str) -> pa.Table:
    duckdb = _driver("duckdb", "pip install 'windrow[duckdb]'")
    path = _file(uri)
    with duckdb.connect(path, read_only=True) if path else duckdb.connect() as connection:
        table: pa.Table = connection.sql(sql).to_arrow_table()
        return table


def _adbc(sql: str, uri: str, driver: str) -> pa.Table:
    install = f"pip install {driver.replace('_', '-')} adbc-driver-manager"
    dbapi = _driver(f"{driver}.dbapi", install)
    with dbapi.connect(_file(uri) if uri.startswith("sqlite:") else uri) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        table: pa.Table = cursor.fetch_arrow_table()
        return table
