"""A dictionary of bounded size: what was set last is kept. For processes, of which any number come and go."""

from typing import Generic, TypeVar

V = TypeVar("V")


class Newest(dict[int, V], Generic[V]):
    """Keeps the `most` entries that were set last; the others are removed when one is set."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: int, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]
