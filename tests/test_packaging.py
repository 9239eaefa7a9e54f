"""What the package is made of: a forgotten subfolder works from a checkout and is missing from the wheel."""

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gaitreid

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_with_code_is_packaged() -> None:
    folders = {
        path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py") if not path.relative_to(ROOT).parts[0].startswith(".")
    }
    on_disk = {".".join(("gaitreid", *folder.parts)) for folder in folders if folder.parts[:1] not in [("build",), ("tests",)]}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk


def test_versions_agree() -> None:
    assert gaitreid.__version__ == PROJECT["project"]["version"]
    assert f"## {gaitreid.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", sorted(m.name for m in pkgutil.walk_packages(gaitreid.__path__, "gaitreid.") if ".tests" not in m.name)
)
def test_every_module_imports_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__


def test_the_lock_names_versions_and_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert all(line.count("==") == 1 and "/" not in line and not line.startswith("-") for line in lines)
    locked = {line.split("==")[0] for line in lines}
    wanted = {"torch", "torchvision", "opencv-python", "mmpose", "mmengine", "numpy", "h5py", "typer", "mediapipe"}
    assert wanted <= locked
    assert not locked & {"chumpy", "xtcocotools", "jax", "opencv-contrib-python", "opencv-python-headless"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['gaitreid', '--help']\n"
        "from gaitreid import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'h5py', 'mediapipe', 'mmpose', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
