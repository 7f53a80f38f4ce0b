"""What the wheel holds, and what importing costs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airpocket", "engine", "ingest", "sinks"}
    assert "engine/market.xml" in names
    assert all(f"{package}/py.typed" in names for package in ("airpocket", "engine", "ingest", "sinks"))


def test_the_command_line_loads_without_the_heavy_libraries() -> None:
    script = "import sys, airpocket.cli; print(sorted({'numba', 'kafka', 'numpy', 'websockets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_decoder_loads_without_the_compiler() -> None:
    script = (
        "import sys; from ingest.venues import load, names; [load(n) for n in names()]; print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
