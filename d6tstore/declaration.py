"""Which parameters a task class has: its own, those of its bases, those of what it requires."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

from d6tstore.errors import ParameterError
from d6tstore.parameters import MISSING, Field

_SETTINGS = frozenset(("aggregates", "backend", "check", "external", "files", "format", "persist", "track", "version"))
_MADE = ("hash", "id")  # attributes that a task gets when it is made


def own_parameters(cls: Any, base: type) -> dict[str, tuple[Any, Field]]:
    """Take the parameters that a class body declares out of the class: name to annotation and field.

    `base` is the class of all tasks; the names of its attributes are taken.
    """
    annotated = vars(cls).get("__annotations__") or getattr(cls, "__annotations__", {})
    annotated = {} if annotated is getattr(cls.__mro__[1], "__annotations__", None) else annotated
    own: dict[str, tuple[Any, Field]] = {}
    for name in [
        *annotated,
        *(n for n, v in vars(cls).items() if isinstance(v, Field) and n not in annotated),
    ]:
        value = vars(cls).get(name, MISSING)
        annotation = annotated.get(name, MISSING)
        text = annotation if isinstance(annotation, str) else str(get_origin(annotation) or annotation)
        if name.startswith("_") or "ClassVar" in text:
            continue
        if name in _SETTINGS and not isinstance(value, Field):
            continue  # `version: int = 3` configures the task
        if hasattr(base, name) or name in _MADE:
            raise ParameterError(
                f"{cls.__name__}: parameter {name!r} has the name of a method or setting of Task. Rename it."
            )
        own[name] = annotation, value if isinstance(value, Field) else Field(MISSING, value, True, "")
    for ancestor in cls.__mro__[1:]:
        stray = [n for n, v in vars(ancestor).items() if isinstance(v, Field)]
        if stray:
            raise ParameterError(
                f"{cls.__name__}: parameter {stray[0]!r} is declared in {ancestor.__name__}, which is no task class. "
                f"Make it one: class {ancestor.__name__}(d6tstore.Task)."
            )
        known = ancestor.fields() if getattr(ancestor, "_requires", None) else getattr(ancestor, "_own", {})
        own |= {n: d for n, d in new_defaults(cls, known).items() if n not in own}
    for name in own:
        if name in vars(cls):
            delattr(cls, name)  # a task holds its values itself; mutable ones behind __getattr__
    return own


def new_defaults(cls: Any, known: Any) -> dict[str, tuple[Any, Field]]:
    """Plain class attributes with the name of an inherited parameter: its new default."""
    found: dict[str, tuple[Any, Field]] = {}
    for name in known:
        value = vars(cls).get(name, MISSING)
        if value is not MISSING and not hasattr(value, "__get__"):
            upstream = known[name] if isinstance(known[name], Field) else Field(MISSING, MISSING, True, "")
            found[name] = MISSING, Field(upstream.type, value, upstream.significant, upstream.description)
            delattr(cls, name)
    return found


def all_parameters(cls: Any) -> dict[str, Field]:
    """Parameters of a class; see `Task.fields`."""
    fields: dict[str, Field] = {}
    for klass in reversed(cls.__mro__):
        own = vars(klass).get("_own")
        if own:
            hints = _hints(klass, own)
            for name, (_, field) in own.items():
                fields[name] = field.bind(name, hints.get(name, MISSING), fields.get(name))
    if cls._requires is not None:
        for upstream in cls._requires.classes():
            for name, field in upstream.fields().items():
                if hasattr(cls, name):
                    raise ParameterError(
                        f"{cls.__name__}: {name!r} is a parameter of {upstream.__name__}, which it requires, and an "
                        "attribute here: the parameter would be hidden. Rename the attribute, or write it into the "
                        f"class body as the new default: {name} = ..."
                    )
                if field.significant and not fields.setdefault(name, field).significant:
                    if name in cls._own:
                        raise ParameterError(
                            f"{cls.__name__}: parameter {name!r} is significant in {upstream.__name__}, whose result "
                            "it changes, so it cannot be insignificant here. Remove significant=False."
                        )
                    fields[name] = field
    return fields


def _hints(klass: type, own: dict[str, tuple[Any, Field]]) -> dict[str, Any]:
    """The types of what a class declares; no other annotation of it or of its bases is looked at."""
    annotations = {name: annotation for name, (annotation, _) in own.items() if annotation is not MISSING}
    if not any(isinstance(annotation, str) or get_args(annotation) for annotation in annotations.values()):
        return annotations
    holder = type(klass.__name__, (), {"__annotations__": annotations, "__module__": klass.__module__})
    try:
        return get_type_hints(holder, localns={klass.__name__: klass}, include_extras=True)
    except NameError as exc:
        raise ParameterError(
            f"{klass.__name__}: the annotation of a parameter cannot be resolved ({exc}). "
            "Import the type at the top of the module, or use a class such as IntParameter instead."
        ) from None
