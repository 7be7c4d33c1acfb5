"""Reading the YAML files beside published checkpoints as plain data.

They are hyperpyyaml: tags such as ``!new:package.Class`` tell its own loader to import and call
what they name. Here every unknown tag is data, and values are looked up by key at any depth,
because the layout of the files is not fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from stepaudio.convert.sources import require_file
from stepaudio.errors import CheckpointError

__all__ = ["TAG", "YamlSettings", "read_yaml"]

T = TypeVar("T")

#: Key under which a mapping keeps its unknown tag.
TAG = "!tag"

_REFERENCE = re.compile(r"<([^<>]+)>")


class _PlainLoader(yaml.SafeLoader):
    """Safe loader for which every unknown tag is data."""


def _plain(loader: _PlainLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {TAG: tag, **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    # A tag alone (``!new:package.Class`` without arguments) is an empty scalar.
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node) or {TAG: tag}


_PlainLoader.add_multi_constructor("", _plain)


def read_yaml(path: Path) -> YamlSettings:
    """Read a YAML mapping; nothing that a tag names is imported or called.

    Args:
        path: the file.

    Returns:
        Its settings.

    Raises:
        CheckpointError: missing, not YAML, or not a mapping.
    """
    require_file(path, "settings")
    try:
        # Not yaml.load of a name from the file: the loader class is fixed and builds plain data.
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a mapping, not {type(value).__name__}")
    return YamlSettings(value, value, path)


class YamlSettings:
    """A mapping of a YAML file whose values are looked up by key, wherever they stand.

    Args:
        node: the mapping.
        root: the whole file, in which ``<name>`` references are resolved.
        path: named in errors.
    """

    def __init__(self, node: dict[Any, Any], root: dict[Any, Any], path: Path) -> None:
        self._node = node
        self._root = root
        self.path = path

    @property
    def class_name(self) -> str:
        """Last part of the class that the tag of this mapping names; empty without a tag."""
        return str(self._node.get(TAG, "")).rsplit(".", 1)[-1].rsplit(":", 1)[-1]

    def section(self, key: str) -> YamlSettings:
        """The mapping under a key, at any depth.

        Args:
            key: what to look for.

        Returns:
            Its settings; references still resolve in the whole file.

        Raises:
            CheckpointError: there is none.
        """
        value = self._find(key)
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.path} has no section {key!r}")
        return YamlSettings(value, self._root, self.path)

    def number(self, key: str, default: float) -> float:
        """The number under a key, at any depth, or the default.

        Args:
            key: what to look for.
            default: stands in where the key is absent.

        Returns:
            The value.

        Raises:
            CheckpointError: the value is not a number.
        """
        return self._value(key, default, float, "a number")  # YAML 1.1 reads 3e-3 as text

    def optional_number(self, key: str, default: float | None) -> float | None:
        """Like :meth:`number`, but ``null`` stands for None."""
        if self._find(key, absent=default) is None:
            return None
        return self._value(key, default, float, "a number or null")

    def integer(self, key: str, default: int) -> int:
        """The whole number under a key; otherwise like :meth:`number`."""
        return self._value(key, default, _whole, "a whole number")

    def flag(self, key: str, default: bool) -> bool:
        """The truth value under a key; otherwise like :meth:`number`."""
        return self._value(key, default, _truth, "true or false")

    def text(self, key: str, default: str) -> str:
        """The text under a key; otherwise like :meth:`number`."""
        return self._value(key, default, str, "text")

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The list of whole numbers under a key; otherwise like :meth:`number`."""
        return self._value(key, default, _integers, "a list of whole numbers")

    def integer_lists(
        self, key: str, default: tuple[tuple[int, ...], ...]
    ) -> tuple[tuple[int, ...], ...]:
        """The list of lists of whole numbers under a key; otherwise like :meth:`number`."""
        return self._value(key, default, _integer_lists, "a list of lists of whole numbers")

    def agree(self, key: str, stored: int, path: Path) -> None:
        """Check that the number under a key, if there is one, is what the tensors show.

        Args:
            key: looked up at any depth.
            stored: read off the shape of a tensor.
            path: file of the tensors.

        Raises:
            CheckpointError: the two differ.
        """
        said = self.integer(key, stored)
        if said != stored:
            raise CheckpointError(
                f"{self.path} says {key} is {said}, but {path} was made with {stored}"
            )

    def _value(self, key: str, default: T, read: Callable[[Any], T], kind: str) -> T:
        value = self._find(key)
        if value is None:
            return default
        try:
            return read(value)
        except (TypeError, ValueError):
            raise CheckpointError(f"{self.path}: {key} must be {kind}, not {value!r}") from None

    def _find(self, key: str, absent: Any = None) -> Any:
        for mapping in _mappings(self._node):
            if key in mapping:
                return self._resolve(mapping[key])
        return absent

    def _resolve(self, value: Any) -> Any:
        """Follow ``!ref <name>`` to another place of the file; ``<a[b]>`` is ``b`` within ``a``."""
        for _ in range(10):
            match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                return value
            value = self._root
            for part in re.findall(r"[^\[\].]+", match[1]):
                value = value.get(part) if isinstance(value, dict) else None
        raise CheckpointError(f"{self.path}: references lead in a circle at {value!r}")


def _mappings(node: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    """A mapping and those within it, outermost first; aliases are visited once."""
    queue, seen = [node], {id(node)}
    while queue:
        mapping = queue.pop(0)
        yield mapping
        for value in mapping.values():
            if isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                queue.append(value)


def _whole(value: Any) -> int:
    number = float(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise TypeError
    return tuple(value)


def _integer_lists(value: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_integers(item) for item in value)
