"""Salesforce's records in memory: SOQL over SQLite, whose WHERE and ORDER BY mean the same."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping

from consentry.model.names import quoted
from consentry.testing.sandbox.vendor import Json, Refused

Row = dict[str, Json]
# What every object has, with its type in a describe.
COMMON = {
    "Id": "id",
    "IsDeleted": "boolean",
    "CreatedDate": "datetime",
    "LastModifiedDate": "datetime",
    "SystemModstamp": "datetime",
}
MERGEABLE = ("Account", "Contact", "Lead")
_PERSON = {"FirstName": "string", "LastName": "string", "Email": "email", "Phone": "phone"}
STANDARD: dict[str, dict[str, str]] = {
    "Contact": {**_PERSON, "MailingCountryCode": "picklist", "Description": "textarea", "MailingAddress": "address"},
    "Lead": {**_PERSON, "Company": "string", "Status": "picklist"},
    "Account": {"Name": "string", "Industry": "picklist", "BillingAddress": "address"},
    "Opportunity": {"Name": "string", "Amount": "currency", "StageName": "picklist"},
}
_QUERY = re.compile(
    r"SELECT (?P<fields>.+?) FROM (?P<object>\w+)(?: WHERE (?P<where>.+?))?(?: ORDER BY (?P<order>.+?))?$",
    re.DOTALL,
)
_INSTANT = re.compile(r"(?<!')\b(\d{4}-\d\d-\d\dT[\d:.]+Z)\b(?!')")


class Objects:
    """The records of all objects."""

    def __init__(self) -> None:
        self._tables = sqlite3.connect(":memory:", check_same_thread=False)
        self._kinds: dict[str, dict[str, str]] = {}
        for name, kinds in STANDARD.items():
            master = {"MasterRecordId": "reference"} if name in MERGEABLE else {}
            self.declare(name, {**COMMON, **master, **kinds})

    def __del__(self) -> None:
        self._tables.close()

    def declare(self, name: str, kinds: Mapping[str, str]) -> None:
        """Make an object known, or give it further fields."""
        before = self._kinds.get(name, {})
        new = {field: kind for field, kind in kinds.items() if field not in before}
        if not before:
            self._tables.execute(f"CREATE TABLE {quoted(name)} ({', '.join(quoted(each) for each in new)})")
            self._tables.execute(f"CREATE UNIQUE INDEX {quoted('by_id_' + name)} ON {quoted(name)} ({quoted('Id')})")
        else:
            for field in new:
                self._tables.execute(f"ALTER TABLE {quoted(name)} ADD COLUMN {quoted(field)}")
        self._kinds[name] = before | new

    def put(self, name: str, records: Iterable[Mapping[str, Json]]) -> None:
        """Add records, or replace them by their Id. Instants are given as bulk results write them."""
        for record in records:
            row = {"IsDeleted": False, **record}
            self.declare(name, {**COMMON, **dict.fromkeys(row, "string")} if name not in self._kinds else {})
            columns = ", ".join(quoted(field) for field in row)
            marks = ", ".join("?" for _ in row)
            self._tables.execute(f"INSERT OR REPLACE INTO {quoted(name)} ({columns}) VALUES ({marks})", [*row.values()])

    def fields(self, name: str) -> dict[str, str]:
        """Return an object's fields and their types."""
        if name not in self._kinds:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        return self._kinds[name]

    def select(self, query: str, *, deleted: bool) -> tuple[str, tuple[str, ...], list[Row]]:
        """Return the object, the fields and the records of a query."""
        parts = _QUERY.match(query.strip())
        if parts is None:
            raise Refused(400, "MALFORMED_QUERY", "unexpected token")
        name, fields = parts["object"], tuple(each.strip() for each in parts["fields"].split(","))
        if name not in self._kinds:
            raise Refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        unknown = [each for each in fields if each not in self._kinds[name]]
        if unknown:
            raise Refused(400, "INVALID_FIELD", f"No such column '{unknown[0]}' on entity '{name}'.")
        conditions = [f"({_as_sql(parts['where'])})"] if parts["where"] else []
        conditions += [] if deleted else ["IsDeleted = 0"]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = f" ORDER BY {parts['order']}" if parts["order"] else ""
        selected = ", ".join(quoted(each) for each in fields)
        try:
            found = self._tables.execute(f"SELECT {selected} FROM {quoted(name)}{where}{order}").fetchall()
        except sqlite3.OperationalError:
            raise Refused(400, "MALFORMED_QUERY", "unexpected token") from None
        kinds = self._kinds[name]
        return name, fields, [{f: _shown(v, kinds[f]) for f, v in zip(fields, row, strict=True)} for row in found]


def _as_sql(where: str) -> str:
    dated = _INSTANT.sub(r"'\1'", where)
    for words, sql in ((" != null", " IS NOT NULL"), (" = null", " IS NULL"), ("= true", "= 1"), ("= false", "= 0")):
        dated = dated.replace(words, sql)
    return dated


def _shown(value: Json, kind: str) -> Json:
    """Show a value as REST does: booleans, and instants with +0000 for Z."""
    if value is None:
        return None
    if kind == "boolean":
        return bool(value)
    return str(value).removesuffix("Z") + "+0000" if kind == "datetime" else value
