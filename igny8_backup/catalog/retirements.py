"""Read which hosts were retired with ``retire_host``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from igny8_backup.catalog.failures import of_one_object
from igny8_backup.catalog.signatures import judge_document
from igny8_backup.errors import IntegrityError, StorageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.retirement import SCHEMA, Retirement
from igny8_backup.signing.trust import RETIREMENT, Trust
from igny8_backup.store import MissingObjectError, Store


@dataclass(frozen=True)
class Retirements:
    """The retirements in a storage that count, by host.

    If the retirement of a host is recorded but does not count, ``doubts`` maps the host to the reason.
    """

    counting: Mapping[str, Retirement] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)

    def cover(self, host: str, newest: datetime) -> bool:
        """Return whether ``host``, whose newest run began at ``newest``, is retired since that run."""
        found = self.counting.get(host)
        return found is not None and newest <= found.last_run


def read_retirements(store: Store, trust: Trust) -> Retirements:
    """Read the retirements of hosts.

    If ``trust`` names trusted keys, a retirement counts only if a key signed it that may sign retirements of
    the host. Raises ``StorageError`` if the storage cannot be listed.
    """
    found = [(item.key, parsed.host) for item in store.list(keys.RETIRED) if (parsed := _parsed(item.key))]
    store.prefetch((key for key, _ in found), signatures=trust.required)
    counting: dict[str, Retirement] = {}
    doubts: dict[str, str] = {}
    for key, host in found:
        try:
            data = store.read_small(key)
            made = records.from_json(Retirement, data, name=key, schema=SCHEMA)
            problem = _problem(store, trust, host, made, data)
        except MissingObjectError:
            continue
        except IntegrityError:
            problem = "it cannot be read"
        except StorageError as error:
            problem = of_one_object(store, error)
        if problem:
            doubts[host] = problem
        else:
            counting[host] = made
    return Retirements(counting, doubts)


def _parsed(key: str) -> keys.Key | None:
    parsed = keys.parse(key)
    return parsed if parsed and parsed.kind == "retirement" else None


def _problem(store: Store, trust: Trust, host: str, made: Retirement, data: bytes) -> str:
    """Return why a retirement does not count; ``""`` if it does."""
    if made.host != host:
        return "it is about another host"
    if not trust.required:
        return ""
    key = keys.retirement_key(host)
    return judge_document(store, trust, key, RETIREMENT, data, host=host, parts=()).problem
