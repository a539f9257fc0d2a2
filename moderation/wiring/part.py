"""How a part is made: when first asked for, and once."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")
_making = threading.RLock()


class part(cached_property[T]):  # noqa: N801 - reads as the decorator it is
    """Made when first asked for, once, also by threads that ask together (cached_property has no lock any more)."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        with _making:
            return super().__get__(instance, owner)
