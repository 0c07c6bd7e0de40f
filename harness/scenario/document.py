"""TOML read so that every complaint names file, line and key.

:class:`Table` hands out typed values and remembers which keys were asked for; :meth:`Table.finish` refuses the rest,
so that a misspelt key is an error and never a silent default.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

from harness.errors import ConfigError

_MISSING: Any = object()
Default = TypeVar("Default")


def read_document(path: Path) -> Table:
    """Parse a TOML file. Raises :class:`ConfigError` where it is missing, unreadable or no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read: {reason}", where=str(path)) from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Table:
    """Parse TOML text; ``name`` stands for the file in messages."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=name) from error
    return Table(values, name, _line_numbers(text), ())


_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\-\"']+)\s*=")


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The line of every key, as far as plain TOML shows it (an inline table's keys get its line)."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            section = _split_key(header.group(1))
            lines.setdefault(section, number)
            continue
        key = _KEY.match(line)
        if key:
            lines.setdefault(section + _split_key(key.group(1)), number)
    return lines


def _split_key(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


class Table:
    """A TOML table with typed access. All getters raise :class:`ConfigError` naming file, line and key."""

    def __init__(
        self, values: dict[str, Any], file: str, lines: dict[tuple[str, ...], int], path: tuple[str, ...]
    ) -> None:
        self._values = values
        self._file = file
        self._lines = lines
        self._path = path
        self._asked: set[str] = set()

    @property
    def file(self) -> str:
        """The file the table stands in."""
        return self._file

    @property
    def values(self) -> dict[str, Any]:
        """The table as TOML gave it; all its keys count as asked for."""
        self._asked.update(self._values)
        return dict(self._values)

    def where(self, key: str = "") -> str:
        """``file:line: dotted.key`` for messages and for the source of a bound."""
        path = (*self._path, key) if key else self._path
        line = None
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                break
        dotted = ".".join(path)
        place = f"{self._file}:{line}" if line else self._file
        return f"{place}: {dotted}" if dotted else place

    def fail(self, key: str, what: str, hint: str = "") -> ConfigError:
        """The error to raise about ``key``."""
        return ConfigError(what, where=self.where(key), hint=hint)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        """The keys of this table, in file order."""
        return iter(self._values)

    def raw(self, key: str, default: Any = _MISSING) -> Any:
        """The value as TOML gave it."""
        self._asked.add(key)
        if key not in self._values:
            if default is _MISSING:
                raise self.fail(key, "this key is required")
            return default
        return self._values[key]

    @overload
    def number(self, key: str, *, low: float = ..., high: float = ...) -> float: ...
    @overload
    def number(self, key: str, default: Default, *, low: float = ..., high: float = ...) -> float | Default: ...
    def number(self, key: str, default: Any = _MISSING, *, low: float = -math.inf, high: float = math.inf) -> Any:
        """A finite float (or int) within [low, high]."""
        value = self.raw(key, default)
        if key not in self._values:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.fail(key, f"must be a number, not {value!r}")
        if not low <= value <= high:
            raise self.fail(key, f"{value} is outside {_range(low, high)}")
        return float(value)

    @overload
    def integer(self, key: str, *, low: int = ..., high: int = ...) -> int: ...
    @overload
    def integer(self, key: str, default: Default, *, low: int = ..., high: int = ...) -> int | Default: ...
    def integer(self, key: str, default: Any = _MISSING, *, low: int = 0, high: int = 2**63) -> Any:
        """An integer within [low, high]."""
        value = self.raw(key, default)
        if key not in self._values:
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise self.fail(key, f"{value} is outside {_range(low, high)}")
        return value

    @overload
    def text(self, key: str, *, choices: Collection[str] = ...) -> str: ...
    @overload
    def text(self, key: str, default: Default, *, choices: Collection[str] = ...) -> str | Default: ...
    def text(self, key: str, default: Any = _MISSING, *, choices: Collection[str] = ()) -> Any:
        """A text, one of ``choices`` where given."""
        value = self.raw(key, default)
        if key not in self._values:
            return value
        if not isinstance(value, str):
            raise self.fail(key, f"must be a text, not {value!r}")
        if choices and value not in choices:
            raise self.fail(key, f"{value!r} is not one of {', '.join(sorted(choices))}")
        return value

    @overload
    def boolean(self, key: str) -> bool: ...
    @overload
    def boolean(self, key: str, default: Default) -> bool | Default: ...
    def boolean(self, key: str, default: Any = _MISSING) -> Any:
        """``true`` or ``false``."""
        value = self.raw(key, default)
        if key in self._values and not isinstance(value, bool):
            raise self.fail(key, f"must be true or false, not {value!r}")
        return value

    def numbers(self, key: str, *, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
        """A non-empty list of finite numbers within [low, high]."""
        value = self.raw(key)
        if not isinstance(value, list) or not value:
            raise self.fail(key, f"must be a list of numbers, not {value!r}")
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int | float) or not low <= item <= high:
                raise self.fail(key, f"{item!r} is not a number in {_range(low, high)}")
        return tuple(float(item) for item in value)

    def texts(self, key: str, *, required: bool = True, choices: Collection[str] = ()) -> tuple[str, ...]:
        """A list of texts, each one of ``choices`` where given; empty where it is missing and not required."""
        value = self.raw(key, _MISSING if required else [])
        if not isinstance(value, list) or (required and not value):
            raise self.fail(key, f"must be a list of texts, not {value!r}")
        for item in value:
            if not isinstance(item, str):
                raise self.fail(key, f"{item!r} is not a text")
            if choices and item not in choices:
                raise self.fail(key, f"{item!r} is not one of {', '.join(sorted(choices))}")
        return tuple(value)

    def table(self, key: str, *, required: bool = True) -> Table:
        """A sub-table; an empty one where it is missing and not required."""
        value = self.raw(key, _MISSING if required else {})
        if not isinstance(value, dict):
            raise self.fail(key, f"must be a table, not {value!r}")
        return Table(value, self._file, self._lines, (*self._path, key))

    def source(self) -> str:
        """The required key ``source``, with the file and line it stands in: ``runbook 3.4 [runbook.toml:12]``."""
        parts = self.where("source").split(":")
        line = f":{parts[1]}" if len(parts) > 1 and parts[1].isdigit() else ""
        return f"{self.text('source')} [{Path(self._file).name}{line}]"

    def finish(self) -> None:
        """Refuse the keys nobody asked for."""
        unknown = [key for key in self._values if key not in self._asked]
        if unknown:
            known = ", ".join(sorted(self._asked)) or "none"
            raise self.fail(unknown[0], "unknown key", f"known here: {known}")


def _range(low: float, high: float) -> str:
    return f"[{'-inf' if low == -math.inf else low}, {'inf' if high == math.inf else high}]"
