"""What users get when they install (law): every package is in the wheel, it works elsewhere, it is imported quickly."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from statistics import median

import pytest

import windrow

ROOT = Path(__file__).parents[1]
PARTS = {"core": "windrow", "kernels": "windrow/kernels"}
MODULES = sorted(
    f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
    for folder, package in PARTS.items()
    for path in (ROOT / folder).rglob("*.py")
)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: Path, what: str) -> Path:
    """Call the build backend as pip would, in `source`; the file that it makes."""
    target.mkdir(exist_ok=True)
    call = f"from setuptools import build_meta; print(build_meta.build_{what}({str(target)!r}))"
    return target / run(sys.executable, "-W", "ignore", "-c", call, cwd=source).splitlines()[-1]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An sdist, and the wheel that is made of nothing but the sdist."""
    source = tmp_path_factory.mktemp("source")
    for folder in PARTS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    sdist = build(source, source / "dist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(source / "unpacked", filter="data")
    (unpacked,) = (source / "unpacked").iterdir()
    return sdist, build(unpacked, source / "dist", "wheel")


@pytest.fixture(scope="session")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel installed, and the dependencies of this one."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", built[1])
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    pth = [line for path in map(Path, ours) for line in [str(path), *foreign_lines(path)]]
    (packages / "dependencies.pth").write_text("\n".join(pth) + "\n")
    return place / "bin"


def foreign_lines(packages: Path) -> list[str]:
    """Folders that other .pth files of this environment add, but for the editable install under test."""
    return [
        line
        for pth in packages.glob("*.pth")
        if "editable" not in pth.name
        for line in pth.read_text().splitlines()
        if line.startswith(os.sep)
    ]


def test_package_list_is_what_lies_in_the_folders() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    folders = {Path(module).parent.as_posix().replace("/", ".") for module in MODULES}
    assert sorted(listed) == sorted(folders)


def test_every_folder_with_modules_is_a_package() -> None:
    assert not [m for m in MODULES if str(Path(m).parent / "__init__.py") not in MODULES]


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == windrow.__version__
    assert f"## {windrow.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_wheel_holds_all_modules_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    assert {*MODULES, "windrow/py.typed"} == {name for name in names if ".dist-info/" not in name}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_holds_sources_and_texts(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    sources = {str(path.relative_to(ROOT)) for folder in PARTS for path in (ROOT / folder).rglob("*.py")}
    assert {*sources, "core/py.typed", "README.md", "LICENSE", "pyproject.toml", "setup.cfg"} <= names


def test_installed_wheel_imports_elsewhere(installed: Path, tmp_path: Path) -> None:
    names = [module.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in MODULES]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "import windrow; print(windrow.__file__)"
    where = run(installed / "python", "-c", script, *names, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent), "the one that is installed, not the one in this checkout"


def test_installed_command_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    found = json.loads(run(installed / "windrow", "version", "--json", cwd=tmp_path))
    assert found["windrow"] == windrow.__version__


def test_import_is_quick_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); import windrow; seconds = time.perf_counter() - start; "
        "print(seconds, *(name for name in ('pyarrow', 'numba', 'numpy', 'polars') if name in sys.modules))"
    )
    outputs = [run(sys.executable, "-c", script).split() for _ in range(7)]
    assert all(len(output) == 1 for output in outputs), f"loaded: {outputs[0][1:]}"
    assert median(float(output[0]) for output in outputs) < 0.2


def test_every_public_name_can_be_loaded() -> None:
    for name in windrow.__all__:
        assert getattr(windrow, name) is not None
    assert set(windrow.__all__) <= set(dir(windrow))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = windrow.no_such_name
