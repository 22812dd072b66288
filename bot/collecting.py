"""When Python looks for garbage: unreachable cycles of objects."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collecting() -> Iterator[None]:
    """For what makes objects that stay, such as imports: looking through them again and again is a tenth of a start.

    What is there at the end is not looked through any more at all.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
