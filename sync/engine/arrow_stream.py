"""Hands data to DuckDB as an Arrow stream, which it reads without pyarrow."""

from __future__ import annotations

from typing import Protocol


class _Streamable(Protocol):
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class ArrowStream:
    """A data frame or a table as nothing but an Arrow stream: DuckDB looks for pyarrow where it knows more of it."""

    def __init__(self, data: _Streamable) -> None:
        self._data = data

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._data.__arrow_c_stream__(requested_schema)
