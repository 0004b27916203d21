"""Secrets of the settings appear in no output."""

from __future__ import annotations

import copy
import pickle
import pprint
from types import SimpleNamespace
from typing import Any

import pytest
from django.views.debug import SafeExceptionReporterFilter

from igny8_backup.common.hidden import Hidden, hide, hide_settings
from igny8_backup.conf import get_config, problems
from igny8_backup.operations.notify.redact import HIDDEN, redacted

URL = "slack://T0KEN/of/service"


def test_hidden_value_is_shown_by_nothing_but_reveal() -> None:
    secret = Hidden(URL)
    shown = (repr(secret), str(secret), f"{secret}", "%s" % [secret], pprint.pformat({"NOTIFY": [secret]}))
    assert all("T0KEN" not in text and HIDDEN in text for text in shown)
    assert copy.deepcopy(secret).reveal() == copy.copy(secret).reveal() == URL
    assert secret == Hidden(URL) != Hidden("other") and len({secret, Hidden(URL)}) == 1
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("value", [[URL], (URL,), URL, {"chat": URL}, [[URL]], 7])
def test_hide_settings_hides_any_value(value: Any) -> None:
    settings = SimpleNamespace(IGNY8_BACKUP={"NOTIFY": value, "HOST": "web-1"})
    for _ in range(2):
        hide_settings(settings, "IGNY8_BACKUP")
        assert "T0KEN" not in repr(settings.IGNY8_BACKUP) and "web-1" in repr(settings.IGNY8_BACKUP)


@pytest.mark.parametrize("value", [None, 7, [], {"HOST": "web-1"}])
def test_hide_settings_leaves_other_settings_unchanged(value: Any) -> None:
    settings = SimpleNamespace(IGNY8_BACKUP=value)
    hide_settings(settings, "IGNY8_BACKUP")
    hide_settings(settings, "NOT_THERE")
    assert settings.IGNY8_BACKUP is value and hide(None) is None


def test_config_reads_hidden_and_plain_urls_and_shows_neither(settings: Any) -> None:
    for urls in ([URL], [Hidden(URL)]):
        settings.IGNY8_BACKUP = {"NOTIFY": urls}
        assert [url.reveal() for url in get_config().notify] == [URL]
        assert "T0KEN" not in repr(get_config())
        assert redacted(f"refused by {URL} x") == f"refused by {HIDDEN} x"


@pytest.mark.parametrize("value", ["T0KEN", [URL, "T0KEN"], [URL, 7], {"chat": "T0KEN"}, Hidden("T0KEN")])
def test_wrong_value_is_reported_without_the_value(settings: Any, value: Any) -> None:
    settings.IGNY8_BACKUP = {"NOTIFY": value}
    (problem,) = problems()
    assert problem.id == "igny8_backup.E050"
    assert "NOTIFY" in problem.message and "T0KEN" not in problem.message + problem.hint


def test_wrong_summary_is_reported(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"NOTIFY_SUMMARY": "hourly"}
    assert [problem.id for problem in problems()] == ["igny8_backup.E050"]


def test_error_page_of_django_hides_the_urls(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"NOTIFY": hide([URL])}
    shown = SafeExceptionReporterFilter().get_safe_settings()["IGNY8_BACKUP"]
    assert "T0KEN" not in pprint.pformat(shown) and HIDDEN in pprint.pformat(shown)
