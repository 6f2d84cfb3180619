"""Frozen dataclasses: what `dataclasses` gives, each of it compared with a class made there."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

import pytest

from sldtrace.frozen import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 2
    note: str = dataclasses.field(default="", compare=False, repr=False)

    @cached_property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True)
class Named(Point):
    names: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Nothing:
    pass


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T


@dataclass(frozen=True)
class Doubled:
    value: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", 2 * self.value)

    def __repr__(self) -> str:
        return "its own"


@dataclasses.dataclass(frozen=True)
class Reference:
    """Point, made by dataclasses."""

    x: int
    y: int = 2
    note: str = dataclasses.field(default="", compare=False, repr=False)


def test_it_is_made_printed_and_compared_as_by_dataclasses() -> None:
    for arguments in ((1,), (1, 3), (1, 3, "a")):
        assert repr(Point(*arguments)) == repr(Reference(*arguments)).replace("Reference", "Point")
        assert dataclasses.asdict(Point(*arguments)) == dataclasses.asdict(Reference(*arguments))
        assert hash(Point(*arguments)) == hash(Point(*arguments))
    assert Point(1) == Point(1, 2, note="other") != Point(2)
    assert Point(1) != Named(1)
    assert Point(1) != Reference(1)  # type: ignore[comparison-overlap]
    assert len({Point(1), Point(1), Point(2)}) == 2
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert Nothing() == Nothing()
    assert Nothing() != Point(1)  # type: ignore[comparison-overlap]
    assert repr(Nothing()) == "Nothing()"
    assert Box[int](3) == Box(3)


@pytest.mark.parametrize("make", [Point, Reference])
def test_nothing_can_be_changed(make: Callable[..., Any]) -> None:
    point = make(1)
    for name in ("x", "y", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(point, name, 3)
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(point, name)
    with pytest.raises(TypeError):
        make()
    assert point == make(1)


def test_a_class_that_derives_has_the_fields_of_both() -> None:
    assert repr(Named(1, names=["a"])) == "Named(x=1, y=2, names=['a'])"
    assert Named(1).names is not Named(1).names
    with pytest.raises(TypeError):
        hash(Named(1))  # a list
    with pytest.raises(dataclasses.FrozenInstanceError):
        Named(1).x = 3  # type: ignore[misc]


def test_a_plain_class_that_derives_can_have_more_attributes() -> None:
    class More(Point):
        def __init__(self) -> None:
            super().__init__(1)
            self.more = 4

    assert More().more == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        More().x = 3  # type: ignore[misc]


def test_copies_are_equal_and_frozen() -> None:
    point = Point(1, 5)
    assert point.sum == 6
    for same in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert same == point
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(same, "x", 3)  # noqa: B010


def test_methods_that_a_class_has_stay() -> None:
    assert Doubled(2).value == 4
    assert repr(Doubled(2)) == "its own"


def test_without_eq_each_is_itself() -> None:
    @dataclass(frozen=True, eq=False)
    class Single:
        x: int

    one, other = Single(1), Single(1)
    assert one != other
    assert len({one, other}) == 2


def test_other_dataclasses_are_those_of_dataclasses() -> None:
    @dataclass
    class Open:
        x: int

    @dataclass(frozen=True, slots=True)
    class Slots:
        x: int

    changed = Open(1)
    changed.x = 2
    assert changed == Open(2)
    assert Slots(1) == Slots(1)
    assert not hasattr(Slots(1), "__dict__")
