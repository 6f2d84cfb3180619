"""`dataclass(frozen=True)`, made in a fifth of the time.

A report imports a hundred such classes. `dataclasses` compiles six methods for each, which took a quarter of
the time of `report --brief`; here it compiles `__init__`, and the other methods are closures.
"""

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **options):
        """As in `dataclasses`. What derives from a frozen class of this module has to be one of it, too."""
        if options.get("frozen") and options.keys() <= {"frozen", "eq"}:
            return lambda cls: _frozen(cls, options.get("eq", True))
        return dataclasses.dataclass(cls, **options)


def _frozen(cls: Any, eq: bool) -> Any:
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # otherwise it would be made of the signature, which takes long
    own = {*cls.__dict__}
    cls = dataclasses.dataclass(repr=False, eq=False)(cls)
    fields = dataclasses.fields(cls)
    names = frozenset(field.name for field in fields)
    compared = attrgetter("__class__", *(field.name for field in fields if field.compare))

    def __setattr__(self: Any, name: str, value: object) -> None:
        if name in names:
            if name in self.__dict__:
                raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        elif type(self) is cls:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)  # by __init__, or what a class that derives from it adds

    def __delattr__(self: Any, name: str) -> None:
        if name in names or type(self) is cls:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    def __repr__(self: Any) -> str:
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields if field.repr)
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self: object, other: object) -> Any:
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: object) -> int:
        return hash(compared(self))

    methods = [__setattr__, __delattr__, __repr__, *([__eq__, __hash__] if eq else [])]
    for method in methods:
        if method.__name__ not in own:
            setattr(cls, method.__name__, method)
    return cls
