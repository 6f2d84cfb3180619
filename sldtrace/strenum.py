"""enum.StrEnum, which Python has since 3.11, for 3.10 as well."""

from enum import Enum


class StrEnum(str, Enum):
    """Members are strings, and are printed as their values. Each value is written out: there is no auto()."""

    __str__ = str.__str__
