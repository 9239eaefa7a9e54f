"""Build the wheel, install it without the checkout in sight, and run it: what users of the package get.

The third-party packages are those of the running environment (a .pth file names them), so nothing is fetched but what the
build itself needs.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RUN = """
import sys
from pathlib import Path
import gaitreid
from gaitreid.pipeline.config import shipped
from gaitreid.pipeline import report
home = Path(gaitreid.__file__).parent
assert home.parent.name == "site-packages", home
assert Path(sys.prefix) in home.parents, home
assert "default" in shipped(), shipped()
assert (home / "py.typed").exists() and (home / "pipeline" / "report.html.j2").exists()
"""


def main() -> None:
    """Build, install, run."""
    uv = str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(
            uv,
            "build",
            "-q",
            "--wheel",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--out-dir",
            str(folder / "dist"),
            str(ROOT),
        )
        (wheel,) = (folder / "dist").glob("*.whl")
        venv.create(folder / "env", symlinks=True)
        python = str(folder / "env/bin/python")
        _run(uv, "pip", "install", "-q", "--no-deps", "--python", python, str(wheel))
        site = next((folder / "env/lib").glob("python*/site-packages"))
        # A .pth of the environment's packages, not of its own .pth files: so the editable checkout stays out of sight.
        (site / "third_party.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        _run(python, "-c", RUN, cwd=folder)
        command = str(folder / "env/bin/gaitreid")
        _run(command, "--version", cwd=folder)
        _run(command, "synth", "walkers", "--subjects", "1", "--views", "90", "--conditions", "nm", "--numbers", "1", cwd=folder)
        _run(command, "extract", "walkers", "--work", "work", cwd=folder)
        _run(command, "split", "--work", "work", cwd=folder)
    print(f"wheel: {wheel.name} runs away from the checkout")


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    main()
