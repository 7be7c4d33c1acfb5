"""Settings of a training: frozen dataclasses, read from TOML, changed by ``key=value``.

A stage adds its own settings in a subclass of :class:`TrainingConfig`. The field's type says what a
file may hold: numbers, strings, booleans, literals, tuples, tables for nested dataclasses, and
``none`` for what is optional.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stepaudio.errors import ConfigError, MissingExtraError

__all__ = ["TrainingConfig", "build_config", "load_config"]

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every stage has in common.

    Attributes:
        output: folder of the run: settings, checkpoints, metrics, the trained model.
        seed: repeats the run.
        learning_rate: the highest; see :func:`stepaudio.training.schedule.cosine_rate`.
        final_learning_rate: of the last step.
        warmup_steps: steps with a rising rate.
        weight_decay: of AdamW.
        adam_betas: of AdamW.
        adam_epsilon: of AdamW.
        max_grad_norm: gradients above are scaled down to it.
        precision: ``"bf16"`` computes in bfloat16; the weights kept are float32 either way.
        device: ``"auto"`` takes the accelerators accelerate finds, ``"cpu"`` none.
        save_every: steps between checkpoints.
        keep_checkpoints: how many of the newest to keep.
        tensorboard: also write event files; needs the extra ``tensorboard``.

    Raises:
        ConfigError: a number outside its range.
    """

    output: str
    seed: int = 0
    learning_rate: float = 1e-5
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    device: Literal["auto", "cpu"] = "auto"
    save_every: int = 200
    keep_checkpoints: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        self.require_positive("learning_rate", "max_grad_norm", "save_every", "keep_checkpoints")
        for name in ("final_learning_rate", "warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)} but must not be negative")

    def require_positive(self, *names: str) -> None:
        """Refuse numbers that are not above 0.

        Args:
            *names: of the settings.

        Raises:
            ConfigError: one of them is 0, negative or not finite.
        """
        for name in names:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value} but must be above 0")


def load_config(config_class: type[C], path: str | Path | None, overrides: Sequence[str] = ()) -> C:
    """Read settings.

    Args:
        config_class: a frozen dataclass.
        path: a TOML file; None starts from the defaults.
        overrides: ``"key=value"`` or ``"table.key=value"``, values as in TOML; the quotes of a
            string may be left out.

    Returns:
        The settings.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown, missing or wrong.
    """
    values: dict[str, Any] = {}
    source = "the settings"
    if path is not None:
        source = str(path)
        try:
            values = _parse_toml(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    for override in overrides:
        name, sign, text = override.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"--set {override!r} is not of the form key=value")
        *tables, key = name.strip().split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {override!r}: {table} is not a table")
        place[key] = _Text(text.strip())
    return build_config(config_class, values, source)


def build_config(config_class: type[C], values: Mapping[str, Any], source: str) -> C:
    """Build a config from plain values, checking each type.

    Args:
        config_class: a dataclass.
        values: by name; tables for nested dataclasses.
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
            raise ConfigError(f"{source}: {name!r} is not set; add it to the file or use --set")
    hints = get_type_hints(config_class)
    return config_class(**{k: _convert(hints[k], v, k, source) for k, v in values.items()})


class _Text(str):
    """A value as typed on the command line, whose type is not known yet."""


def _parse_toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise MissingExtraError(
                "reading TOML with Python 3.10 needs tomli; "
                "install it with: pip install 'stepaudio[train]'"
            ) from error
    parsed: dict[str, Any] = tomllib.loads(text)
    return parsed


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, _Text):
        value = _typed(value, options)
    for option in options:
        try:
            return _as(option, value, name, source)
        except TypeError:
            continue
    wanted = " or ".join(_named(option) for option in options)
    raise ConfigError(f"{source}: {name} must be {wanted}, not {value!r}")


def _typed(text: _Text, options: Sequence[Any]) -> Any:
    if text.lower() == "none" and types.NoneType in options:
        return None
    try:
        parsed = _parse_toml(f"value = {text}")
    except ValueError:
        return str(text)
    if set(parsed) != {"value"}:
        return str(text)
    keep = str in options and not isinstance(parsed["value"], str)
    return str(text) if keep else parsed["value"]


def _as(hint: Any, value: Any, name: str, source: str) -> Any:
    """``value`` as ``hint``; TypeError if it is something else."""
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool, types.NoneType) and type(value) is hint:
        return value
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build_config(hint, value, f"{source}, [{name}]")  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        parts = get_args(hint)
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(each) == len(value):
            return tuple(_as(h, v, name, source) for h, v in zip(each, value, strict=True))
    if get_origin(hint) is dict and isinstance(value, Mapping):
        part = get_args(hint)[1]
        return {k: _convert(part, v, f"{name}.{k}", source) for k, v in value.items()}
    raise TypeError


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(value) for value in get_args(hint))
    if hint is types.NoneType:
        return "none"
    return "a table" if dataclasses.is_dataclass(hint) else str(getattr(hint, "__name__", hint))
