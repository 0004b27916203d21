"""Keep secret values of the settings out of every output.

``manage.py diffsettings`` and Django's error pages print the settings. Django hides values by the name of
their key, and it does not know the keys of this package. So the app replaces secret values by objects that
do not show them. Importing this module imports nothing of the package.
"""

from __future__ import annotations

from typing import Any, Final

SHOWN = "********"
SECRET_KEYS = ("NOTIFY",)
"""The keys of ``IGNY8_BACKUP`` whose values are secret as a whole."""


class Hidden:
    """A secret value, which ``repr()``, ``str()``, formatting and pickling do not show."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value: Final = value

    def reveal(self) -> Any:
        """Return the secret value."""
        return self._value

    def __repr__(self) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Hidden:
        return self

    def __deepcopy__(self, memo: object) -> Hidden:
        return self

    def __reduce__(self) -> str:
        raise TypeError("A secret of the settings cannot be pickled.")


def hide(value: Any) -> Any:
    """Return ``value``, or each item of a list or tuple, as ``Hidden``."""
    if isinstance(value, (list, tuple)):
        return [item if isinstance(item, Hidden) else Hidden(item) for item in value]
    return value if value is None or isinstance(value, Hidden) else Hidden(value)


def hide_settings(settings: Any, name: str) -> None:
    """Replace the secret values in the setting ``name``, a dict, by ``Hidden`` objects."""
    found = getattr(settings, name, None)
    if not isinstance(found, dict):
        return
    for key in SECRET_KEYS:
        if key in found:
            found[key] = hide(found[key])
