"""The map in trm/README.md is what the docstrings say, and every path that the README names exists."""

import re
from pathlib import Path

from house_map import PACKAGES, README, house_map, write
from test_imports import PACKAGES as ORDER

ROOT = Path(__file__).parent.parent


def test_the_map_is_what_the_docstrings_say():
    written = README.read_text(encoding="utf-8")
    assert written == write(house_map()), "python scripts/house_map.py --write"


def test_one_order_of_packages():
    assert PACKAGES == ORDER


def test_paths_in_the_readme_exist():
    text = README.read_text(encoding="utf-8").partition("## The map")[0]
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", text))
    assert len(named) > 10
    missing = [path for path in named if not ((ROOT / "trm" / path).exists() or (ROOT / path).exists())]
    assert not missing
