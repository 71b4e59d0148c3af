"""The kernel of live pages is compiled from its source."""

import shutil
import subprocess
from pathlib import Path

import pytest

from trm.show.html.embedded import kernel

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_kernel.mjs"


@pytest.mark.processes
def test_the_kernel_is_compiled_from_its_source(tmp_path: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    # NODE_PATH lists folders of packages.
    if subprocess.run([node, "-e", "require('wabt')"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("needs the npm package wabt")
    subprocess.run([node, SCRIPT, tmp_path / "kernel.wasm"], cwd=tmp_path, check=True)
    assert (tmp_path / "kernel.wasm").read_bytes() == kernel()
