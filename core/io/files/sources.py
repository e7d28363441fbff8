"""The sources of files, by format."""

from windrow.io.files.csv import CsvSource
from windrow.io.files.rows import IpcSource, ParquetSource
from windrow.io.files.text import JsonSource

__all__ = ["CsvSource", "IpcSource", "JsonSource", "ParquetSource"]
