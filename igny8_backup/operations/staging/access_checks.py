"""Compare the owners and privileges of a restored database with those recorded in the backup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from igny8_backup.databases.values import Answers
from igny8_backup.formats.details import DatabaseDetails, SchemaAccess

_SHOWN = 5


def access_differences(details: DatabaseDetails, found: Answers) -> str:
    """Describe in a sentence how owners and privileges differ from the backup; empty if they do not.

    ``found`` was read in the restored database. Schemas that are missing or that the backup did not have are
    differences too. What the backup did not record is not compared.
    """
    wrong = []
    if details.schemas is not None and found.schemas is not None:
        wrong += _schema_differences(details.schemas, found.schemas)
    if details.access is not None and found.access is not None:
        # A restore leaves out, and lists, the default privileges of roles that it may not act for.
        then = {
            name: text
            for name, text in details.access.items()
            if name in found.access or not name.startswith("default acl ")
        }
        wrong += _differences("", then, found.access, absent="default owner and privileges")
    if not wrong:
        return ""
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return (
        f"Owners or privileges differ from those in the backup: {'; '.join(wrong[:_SHOWN])}{more}."
        " Correct them by hand, as a superuser if need be."
    )


def _schema_differences(before: tuple[SchemaAccess, ...], after: tuple[SchemaAccess, ...]) -> list[str]:
    then, now = ({schema.name: schema for schema in schemas} for schemas in (before, after))
    wrong = [f"the schema {name} is missing" for name in then if name not in now]
    wrong += [f"the schema {name} was not in the backup" for name in now if name not in then]
    # Without owners and privileges (--no-owner), only the names are compared.
    both = [name for name in then if name in now and then[name].privileges is not None]
    return wrong + list(
        _differences(
            "schema ",
            {name: _as_text(then[name]) for name in both},
            {name: _as_text(now[name]) for name in both},
        )
    )


def _differences(
    kind: str, then: Mapping[str, str], now: Mapping[str, str], absent: str = ""
) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        before, after = then.get(name, absent), now.get(name, absent)
        if before != after:
            yield f"{kind}{name} has {after} instead of {before}"


def _as_text(schema: SchemaAccess) -> str:
    # A restoring role that may not act for the owner of public leaves it out, since every database has one.
    owner = "its owner" if schema.name == "public" else schema.owner
    names = {"": "PUBLIC", schema.owner: owner}
    grants = {
        f"{names.get(item.grantee, item.grantee)}={item.privilege}{'*' if item.grantable else ''}"
        for item in schema.privileges or ()
    }
    return ", ".join([f"owner {owner}"] * (schema.name != "public") + (sorted(grants) or ["no privileges"]))
