"""Change a module of a library right after it is imported, before other modules can use it.

The sandbox must not import libraries itself: a project may depend on the order of its imports (gevent, for
example, must replace the standard library's sockets before anything uses them).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Change = Callable[[ModuleType], None]


class _Finder(MetaPathFinder):
    """Use the other finders to find the modules that are to be changed; change each after it was executed."""

    def __init__(self, changes: Mapping[str, Change]) -> None:
        self._changes = dict(changes)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = self._changes.pop(fullname, None)
        if change is None:
            return None
        for finder in sys.meta_path:
            search = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = search(fullname, path, target) if search else None
            if spec is not None:
                return _changed_after_import(spec, change)
        return None


def change_after_import(changes: Mapping[str, Change]) -> None:
    """Call the function ``changes[name]`` with the module ``name`` as soon as it is imported.

    If it is imported already, the function is called at once.
    """
    for name, change in changes.items():
        if name in sys.modules:
            change(sys.modules[name])
    sys.meta_path.insert(
        0, _Finder({name: item for name, item in changes.items() if name not in sys.modules})
    )


def _changed_after_import(spec: ModuleSpec, change: Change) -> ModuleSpec:
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return spec

    def exec_module(module: ModuleType) -> None:
        execute(module)
        change(module)

    # On the loader object itself, which belongs to this module only and keeps all its other methods.
    loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]
    return spec
