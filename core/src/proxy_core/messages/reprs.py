"""Values that hold what must not be read in a log."""

from collections.abc import Callable
from typing import Any

__all__ = ["repr_without"]


def repr_without(*unshown: str) -> Callable[[Any], str]:
    """A ``__repr__`` for a struct that leaves out the fields named: secrets, and bodies that may hold some."""

    def shown(struct: Any) -> str:
        names = (name for name in struct.__struct_fields__ if name not in unshown)
        return f"{type(struct).__name__}({', '.join(f'{name}={getattr(struct, name)!r}' for name in names)})"

    return shown
