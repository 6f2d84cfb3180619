"""Times as people say them."""

from datetime import datetime, timedelta, timezone

import pytest

from sldtrace.text import moments

NOW = datetime(2026, 11, 28, 11, 30, 15, tzinfo=timezone.utc)
CET = timezone(timedelta(hours=1))


def parsed(text: str, zone: timezone = timezone.utc) -> str:
    ns = moments.parse(text, int(NOW.timestamp()) * 10**9, zone)
    assert ns % 1000 == 0
    return datetime.fromtimestamp(ns / 1e9, timezone.utc).isoformat(" ").removesuffix("+00:00")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", "2026-11-28 11:30:15"),
        ("3h ago", "2026-11-28 08:30:15"),
        ("1.5 hours ago", "2026-11-28 10:00:15"),
        ("90s ago", "2026-11-28 11:28:45"),
        ("2 Days ago", "2026-11-26 11:30:15"),
        ("1 week  ago", "2026-11-21 11:30:15"),
        ("09:05", "2026-11-28 09:05:00"),
        ("9:05", "2026-11-28 09:05:00"),
        ("14:05", "2026-11-27 14:05:00"),
        ("14:05:30.5", "2026-11-27 14:05:30.500000"),
        ("today", "2026-11-28 00:00:00"),
        ("today 23:00", "2026-11-28 23:00:00"),
        ("yesterday", "2026-11-27 00:00:00"),
        ("Yesterday 22:00", "2026-11-27 22:00:00"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20 14:05", "2026-11-20 14:05:00"),
        ("2026-11-20T14:05:30+02:00", "2026-11-20 12:05:30"),
        ("2026-11-20T14:05:30Z", "2026-11-20 14:05:30"),
        ("2026-11-20T14:05:30.25+0200", "2026-11-20 12:05:30.250000"),
        ("2026-11-20 14:05:30.123456789", "2026-11-20 14:05:30.123456"),
    ],
)
def test_a_time(text: str, moment: str) -> None:
    assert parsed(text) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12:30", "2026-11-28 11:30:00"),
        ("12:31", "2026-11-27 11:31:00"),
        ("yesterday 00:30", "2026-11-26 23:30:00"),
        ("2026-11-20 14:05", "2026-11-20 13:05:00"),
        ("2026-11-20T14:05:30Z", "2026-11-20 14:05:30"),
    ],
)
def test_a_time_in_another_zone(text: str, moment: str) -> None:
    assert parsed(text, CET) == moment


@pytest.mark.parametrize(
    "text",
    ["", "soon", "3 ago", "3 fortnights ago", "25:00", "12:60", "tomorrow", "yesterday noon", "99999-01-01"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time such as '3h ago'"):
        parsed(text)
