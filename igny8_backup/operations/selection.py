"""Which databases and trees are meant."""

from __future__ import annotations

from igny8_backup.conf import Config
from igny8_backup.errors import UsageError


def choose(asked: tuple[str, ...], known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """``asked``, or all ``known`` when nothing was asked. Raises :class:`UsageError` for an unknown one."""
    for name in asked:
        if name not in known:
            raise UsageError(
                f"There is no {kind} {name!r}.",
                unchanged="Nothing was read or written.",
                hint=f"Choose among: {', '.join(known) or 'none is configured'}.",
            )
    return tuple(dict.fromkeys(asked)) or known


def choose_trees(config: Config, names: tuple[str, ...], *, logs: bool) -> tuple[str, ...]:
    """The trees ``names``, or all of ``SITES``; with ``logs`` those of ``LOGS`` as well.

    Raises :class:`UsageError` for an unknown name, and when nothing is configured.
    """
    more = tuple(config.logs)
    chosen = choose(names, (*config.sites, *more), "tree") if names else tuple(config.sites)
    chosen = tuple(dict.fromkeys((*chosen, *more))) if logs else chosen
    if not chosen:
        raise UsageError(
            "No tree is configured.",
            unchanged="Nothing was read or written.",
            hint="Name them: IGNY8_BACKUP['SITES'] = {'sites-data': '/data/app/sites-data'}.",
        )
    return chosen
