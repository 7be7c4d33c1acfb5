"""Plain values, as files hold them, become frozen dataclasses whose types were checked.

The type of a field says what a file may hold: numbers, strings, booleans, literals, lists, tables
for nested dataclasses and for mappings, and nothing (``none``) for what is optional.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stepaudio.errors import ConfigError

__all__ = ["build_config", "options_of"]

C = TypeVar("C")


def build_config(config_class: type[C], values: Mapping[str, Any], source: str) -> C:
    """Build a config from plain values, checking each type.

    Args:
        config_class: a dataclass.
        values: by name; tables for nested dataclasses, lists for tuples.
        source: named in errors.

    Returns:
        The config.

    Raises:
        ConfigError: a setting is unknown, missing or wrong; the message suggests the nearest.
    """
    fields = {f.name: f for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
            raise ConfigError(f"{source}: unknown setting {name!r}; {hint}")
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{source}: {name!r} is not set")
    hints = get_type_hints(config_class)
    checked = {k: _convert(hints[k], v, k, source) for k, v in values.items()}
    try:
        return config_class(**checked)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def options_of(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have: the members of a union, or its one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    options = options_of(hint)
    for option in options:
        try:
            return _as(option, value, name, source)
        except TypeError:
            continue
    wanted = " or ".join(_named(option) for option in options)
    raise ConfigError(f"{source}: {name} must be {wanted}, not {value!r}")


def _as(hint: Any, value: Any, name: str, source: str) -> Any:
    """``value`` as ``hint``; TypeError if it is something else."""
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool, types.NoneType) and type(value) is hint:
        return value
    kind = get_origin(hint)
    if kind is Literal and value in get_args(hint):
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build_config(hint, value, f"{source}, [{name}]")  # type: ignore[arg-type]
    if kind is tuple and isinstance(value, list | tuple):
        parts = get_args(hint)
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(each) == len(value):
            return tuple(_as(h, v, name, source) for h, v in zip(each, value, strict=True))
    if kind in (dict, Mapping) and isinstance(value, Mapping):
        part = get_args(hint)[1]
        return {k: _convert(part, v, f"{name}.{k}", source) for k, v in value.items()}
    raise TypeError


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(value) for value in get_args(hint))
    if hint is types.NoneType:
        return "none"
    return "a table" if dataclasses.is_dataclass(hint) else str(getattr(hint, "__name__", hint))
