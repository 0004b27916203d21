"""Calls whose time is limited: ``within``."""

from __future__ import annotations

import pytest

from igny8_backup.common.deadline import within


def test_error_keeps_its_cause_while_another_one_is_handled() -> None:
    def call() -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError:
            raise ValueError  # noqa: B904 - as client libraries do

    with pytest.raises(ValueError) as caught:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            within(60, call)
    assert isinstance(caught.value.__context__, ConnectionRefusedError)
