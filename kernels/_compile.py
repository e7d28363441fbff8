"""The decorator that makes kernels: fixed signatures, compiled on first call, kept on disk, listed in one registry.

The compiled code lies in ``$WINDROW_CACHE_DIR``, else ``$XDG_CACHE_HOME/windrow``, else ``~/.cache/windrow``, in a
folder named after the numba version and a hash of the kernel's module and of every kernel module it imports: numba
itself looks only at the file of the outermost function and would run stale code after a change in a helper.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

_IMPORT = re.compile(r"^from windrow\.kernels(?:\.(\w+))? import (.+)$", re.M)
_FOLDER = Path(__file__).parent
_compile_lock = threading.RLock()

#: Every kernel by "module.function".
registry: dict[str, Kernel] = {}


class Kernel:
    """A kernel that compiles itself when it is first needed; calling it is calling the compiled function."""

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.py_func = function
        self.signature = signature
        self._compiled: Callable[..., Any] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        compiled = self._compiled
        if compiled is None:
            compiled = self.compile()
        return compiled(*args)

    def compile(self) -> Callable[..., Any]:
        """Compile, or load from disk what an earlier process compiled; a no-op the second time."""
        with _compile_lock:
            if self._compiled is None:
                # error_model numpy: a division by zero gives what numpy gives instead of raising
                dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(self.py_func)
                dispatcher._cache = _KernelCache(self.py_func)  # type: ignore[no-untyped-call]
                dispatcher.compile(self.signature)
                dispatcher.disable_compile()
                self._compiled = dispatcher
            return self._compiled

    def is_cached(self) -> bool:
        """Whether `compile` will most likely only load: it is in memory, or its file lies in the cache folder."""
        if self._compiled is not None:
            return True
        module = self.py_func.__module__
        file = f"{module.rpartition('.')[2]}.{self.py_func.__qualname__}-*.nbi"
        return any(_folder_of(module).glob(file))


def kernel(signature: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a kernel of the function below with exactly this signature (see ``_types``)."""

    def make(function: Callable[..., Any]) -> Kernel:
        made = Kernel(function, signature)
        registry[f"{function.__module__.rpartition('.')[2]}.{function.__name__}"] = made
        return made

    return make


#: Makes a helper that kernels call; compiled into each of them.
device = numba.njit(nogil=True, error_model="numpy")
#: As `device`, and always inlined before optimisation, for helpers in the innermost loops.
inline = numba.njit(nogil=True, error_model="numpy", inline="always")


def cache_root() -> Path:
    """The folder under which compiled kernels are kept."""
    chosen = os.environ.get("WINDROW_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windrow"


@functools.cache
def _source_hash(module: str) -> str:
    """Hash of a kernel module's text and of all kernel modules it imports, directly or through others."""
    seen: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = _FOLDER / f"{name}.py"
        if name in seen or not path.exists():
            continue
        text = path.read_text()
        seen[name] = text
        for source, names in _IMPORT.findall(text):
            pending += [source] if source else [part.strip() for part in names.split(",")]
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name].encode() + b"\0")
    return digest.hexdigest()[:16]


def _folder_of(module: str) -> Path:
    return cache_root() / f"numba-{numba.__version__}" / _source_hash(module.rpartition(".")[2])


class _Locator(caching._CacheLocator):
    """Says where a kernel's compiled code lies: by what its source says, not by where the file is or how old.

    numba's own locators key on the path and the time of the file, so that every new clone, virtual environment or
    reinstallation would compile everything again.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._folder = _folder_of(function.__module__)
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._folder.name

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        locator = cls(py_func)
        locator.ensure_cache_path()  # type: ignore[no-untyped-call]
        return locator


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _KernelCache(caching.FunctionCache):
    _impl_class = _KernelCacheImpl
