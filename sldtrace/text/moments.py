"""Times of day on the command line, as people say them, parsed to nanoseconds since 1970."""

import re
from datetime import datetime, time, timedelta, tzinfo

FORMS = "'3h ago', '14:05', 'yesterday 22:00', '2026-11-28 14:05:30', '2026-11-28T14:05:30+01:00' or now"

_AGO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)\s+ago")
_UNITS = {
    "second": ("s", "sec", "secs", "second", "seconds"),
    "minute": ("m", "min", "mins", "minute", "minutes"),
    "hour": ("h", "hour", "hours"),
    "day": ("d", "day", "days"),
    "week": ("w", "week", "weeks"),
}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_LENGTHS = {name: _SECONDS[unit] for unit, names in _UNITS.items() for name in names}
_DAYS = {"today": 0, "yesterday": -1}
_FRACTION = re.compile(r"(?<=:[0-9]{2})\.([0-9]{1,6})[0-9]*")
_ZONE = re.compile(r"(?<=[0-9])(?:Z|([+-][0-9]{2})([0-9]{2}))$")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?")


def parse(text: str, now_ns: int, zone: tzinfo | None) -> int:
    """ns since 1970 of a time such as those in FORMS.

    zone: of times that name none; None: that of this machine. A time of day without a date is the last one
    before now. Raises ValueError, with one line, for anything else.
    """
    words = " ".join(text.split()).lower()
    now = datetime.fromtimestamp(now_ns / 1e9, zone).astimezone(zone)
    if words == "now":
        return now_ns
    if match := _AGO.fullmatch(words):
        if match[2] not in _LENGTHS:
            raise ValueError(f"'{text}' is not a time such as {FORMS}")
        return now_ns - int(float(match[1]) * _LENGTHS[match[2]] * 1_000_000_000)
    day, _, clock = words.partition(" ")
    if day in _DAYS and (not clock or _CLOCK.fullmatch(clock)):
        return _ns(_at(now + timedelta(days=_DAYS[day]), clock or "00:00", zone, text))
    if _CLOCK.fullmatch(words):
        found = _at(now, words, zone, text)
        return _ns(found if found <= now else _at(now - timedelta(days=1), words, zone, text))
    try:
        given = datetime.fromisoformat(_iso(" ".join(text.split())))
        return _ns(given if given.tzinfo else _in_zone(given, zone))
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"'{text}' is not a time such as {FORMS}") from None


# As fromisoformat of Python 3.10 reads it: six digits of a fraction, and a zone with a colon.
def _iso(text: str) -> str:
    text = _FRACTION.sub(lambda found: f".{found[1]:0<6}", text)
    return _ZONE.sub(lambda found: f"{found[1]}:{found[2]}" if found[1] else "+00:00", text)


def _at(day: datetime, clock: str, zone: tzinfo | None, text: str) -> datetime:
    hour, _, rest = clock.partition(":")
    try:
        moment = time.fromisoformat(_iso(f"{int(hour):02}:{rest}"))
    except ValueError:
        raise ValueError(f"'{text}' is not a time such as {FORMS}") from None
    return _in_zone(datetime.combine(day.date(), moment), zone)


# A naive time has the zone of this machine for astimezone.
def _in_zone(naive: datetime, zone: tzinfo | None) -> datetime:
    return naive.astimezone() if zone is None else naive.replace(tzinfo=zone)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
