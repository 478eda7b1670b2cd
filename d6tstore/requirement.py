"""The decorator `requires`."""

from __future__ import annotations

from typing import Any

from d6tstore.declaration import new_defaults
from d6tstore.errors import GraphError
from d6tstore.shapes import flatten, map_shape
from d6tstore.task import Task, latest


class Requirement:
    """What the decorator `requires` was given; resolved to the newest definition of each class."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape

    def classes(self) -> list[type[Task]]:
        """The required classes."""
        return [latest(c) for c in flatten(self.shape)]

    def tasks(self, task: Task) -> Any:
        """The required tasks, in the decorator's shape, with the parameters of `task`."""
        return map_shape(self.shape, lambda cls: task.clone(latest(cls)))


def requires(*classes: Any, **named: Any) -> Any:
    """Class decorator: declare what a task reads, and inherit its parameters.

    Args:
        *classes: one task class; or several, or one list, tuple or dict of classes.
        **named: classes by name: `self.input()` is then a dict.

    Returns:
        A decorator of task classes.

    Raises:
        GraphError: something that is not a task class.

    Example:
        >>> import d6tstore
        >>> class Get(d6tstore.tasks.TaskJson):
        ...     year: int = 2024
        >>> @d6tstore.requires(Get)
        ... class Clean(d6tstore.tasks.TaskJson):
        ...     pass
        >>> Clean(year=2025).requires()
        Get(year=2025)
    """
    shape: Any = named or (classes[0] if len(classes) == 1 else list(classes))
    if (classes and named) or not all(isinstance(c, type) and issubclass(c, Task) for c in flatten(shape)):
        raise GraphError(
            f"requires({shape!r}): give task classes: one, several, a list, or a dict of classes. "
            "For tasks with other parameters, define the method requires(self) instead."
        )

    def decorate(cls: type[Task]) -> type[Task]:
        if not (isinstance(cls, type) and issubclass(cls, Task)):
            raise GraphError(f"requires(...) decorates task classes, not {cls!r}.")
        if "_requires" in vars(cls):
            raise GraphError(f"{cls.__name__} is decorated with requires twice. Name all classes in one.")
        for upstream in flatten(shape):
            cls._own |= new_defaults(cls, upstream.fields())
        cls._requires = Requirement(shape)
        cls._fields_epoch = -1
        return cls

    return decorate
