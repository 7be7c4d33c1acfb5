"""Settings of a training: frozen dataclasses, read from TOML, changed by ``key=value``.

A stage adds its own settings in a subclass of :class:`TrainingConfig`. The field's type says what a
file may hold: numbers, strings, booleans, literals, tuples, tables for nested dataclasses, and
``none`` for what is optional.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from stepaudio.configs import build_config, options_of
from stepaudio.errors import ConfigError, MissingExtraError

__all__ = ["TrainingConfig", "load_config", "require_not_negative"]

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
        self.require_positive(
            "learning_rate", "adam_epsilon", "max_grad_norm", "save_every", "keep_checkpoints"
        )
        require_not_negative(self, "final_learning_rate", "warmup_steps", "weight_decay")
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ConfigError(
                f"adam_betas is {list(self.adam_betas)} but each must be 0 or more and below 1"
            )

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


def require_not_negative(settings: object, *names: str) -> None:
    """Refuse numbers below 0.

    Args:
        settings: of a training, or a table of them.
        *names: of the settings.

    Raises:
        ConfigError: one of them is negative or not finite.
    """
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} is {value} but must be finite and 0 or more")


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
        place[key] = _typed(text.strip(), _options_at(config_class, [*tables, key]))
    return build_config(config_class, values, source)


def _options_at(config_class: type[Any], names: Sequence[str]) -> tuple[Any, ...]:
    """The types that the setting under ``table, …, key`` may have; none if there is no such one."""
    options: tuple[Any, ...] = (config_class,)
    for name in names:
        inner: Any = None
        for option in options:
            if dataclasses.is_dataclass(option):
                inner = get_type_hints(option).get(name)
            elif get_origin(option) in (dict, Mapping):
                inner = get_args(option)[1]
        if inner is None:
            return ()
        options = options_of(inner)
    return options


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


def _typed(text: str, options: Sequence[Any]) -> Any:
    if text.lower() == "none" and types.NoneType in options:
        return None
    try:
        parsed = _parse_toml(f"value = {text}")
    except ValueError:
        return text
    if set(parsed) != {"value"}:
        return text
    keep = str in options and not isinstance(parsed["value"], str)
    return text if keep else parsed["value"]
