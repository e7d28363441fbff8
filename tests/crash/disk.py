"""A disk that forgets what was not synced: what a power cut may leave of the files that windrow writes itself.

In the process that will die, `watch` notes every fsync: how long the file was, or which names the folder held. After
the death `cut_power` makes the strictest state of it: files end where they were last synced, and names that came
after the last sync of their folder are gone (a renamed file has its old name again). SQLite does its own syncing and is
taken at its word.

Files are told apart by their inode numbers, which file systems give to new files again: so every file that a note
speaks of is held by one more link, in a folder beside the journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_REAL_FSYNC, _REAL_FDATASYNC = os.fsync, os.fdatasync


def watch(journal: Path) -> None:
    """Note every sync of this process from now on."""
    file = os.open(journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    held = _holder(journal)

    def noting(real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            note = _note(descriptor, held)  # before the call: what is written meanwhile need not be part of it
            real(descriptor)
            os.write(file, note)

        return sync

    os.fsync = noting(_REAL_FSYNC)  # type: ignore[assignment]
    os.fdatasync = noting(_REAL_FDATASYNC)  # type: ignore[assignment]


def note_all(journal: Path, roots: list[Path]) -> None:
    """Everything that lies in `roots` now is durable."""
    held = _holder(journal)
    with journal.open("ab") as file:
        for path in _walk(roots):
            descriptor = os.open(path, os.O_RDONLY)
            file.write(_note(descriptor, held))
            os.close(descriptor)


def cut_power(journal: Path, roots: list[Path]) -> list[str]:
    """Undo what was not synced in the folders under `roots`; says what was undone."""
    lengths: dict[int, int] = {}
    listings: dict[int, dict[str, int]] = {}
    for line in journal.read_bytes().splitlines():
        note = json.loads(line)
        if "names" in note:
            listings[note["folder"]] = note["names"]
        else:
            lengths[note["file"]] = note["length"]
    folders = {path.stat().st_ino: path for path in _walk(roots) if path.is_dir()}
    homes = {inode: (folder, name) for folder, names in listings.items() for name, inode in names.items()}
    undone = []
    for identity, folder in reversed(folders.items()):
        undone += _forget_names(folder, listings.get(identity, {}), folders, homes)
    for path in _walk(roots):
        if path.is_file():
            length = lengths.get(path.stat().st_ino, 0)
            if path.stat().st_size > length:
                os.truncate(path, length)
                undone.append(f"{path.name} cut to {length}")
    return undone


def _forget_names(
    folder: Path, synced: dict[str, int], folders: dict[int, Path], homes: dict[int, tuple[int, str]]
) -> list[str]:
    undone = []
    for path in sorted(folder.iterdir()):
        inode = path.stat().st_ino
        if _is_sqlite(path) or synced.get(path.name) == inode:
            continue
        home, name = homes.get(inode, (0, ""))
        before = folders[home] / name if home in folders else None
        if before is not None and not before.exists():
            path.rename(before)
            undone.append(f"{path.name} is {before} again")
        elif path.is_file():
            path.unlink()
            undone.append(f"{path.name} gone")
        else:
            shutil.rmtree(path)
            undone.append(f"folder {path.name} gone")
    return undone


def _walk(roots: list[Path]) -> Iterator[Path]:
    for root in roots:
        if root.is_dir() and root.name != "writers":
            yield root
            for path in sorted(root.iterdir()):
                if path.is_dir():
                    yield from _walk([path])
                elif not _is_sqlite(path):
                    yield path


def _is_sqlite(path: Path) -> bool:
    return path.name.startswith("log.db") or path.name == "writers" or path.parent.name == "writers"


def _holder(journal: Path) -> Path:
    held = journal.with_name("held")
    held.mkdir(exist_ok=True)
    return held


def _note(descriptor: int, held: Path) -> bytes:
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if path.is_dir():
        names = {entry.name: entry.inode() for entry in os.scandir(path)}
        for name, inode in names.items():
            _hold(path / name, inode, held)
        note: dict[str, object] = {"folder": os.fstat(descriptor).st_ino, "names": names}
    else:
        inode = os.fstat(descriptor).st_ino
        _hold(path, inode, held)
        note = {"file": inode, "length": os.fstat(descriptor).st_size}
    return (json.dumps(note) + "\n").encode()


def _hold(path: Path, inode: int, held: Path) -> None:
    """Keep the inode number from being given to another file."""
    if not _is_sqlite(path) and not path.is_dir():
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(path, held / str(inode))
