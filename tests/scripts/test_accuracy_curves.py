"""Pictures of accuracy curves: those of the READMEs are what the records say, and each run has its line."""

from xml.etree import ElementTree

import pytest
from curves import PICTURES, SCRIPTS, STATE_COLORS, Curve, Panel, draw, search_panels
from records import Record, read_records


def search_record(recipe: str, data: str, seconds: float, seed: int = 0) -> Record:
    """Return a record of a run with an evaluation at half and at all of its core-seconds."""
    return Record(
        benchmark="search",
        figures={"curve": [[1, seconds / 2, 0.25], [2, seconds, 0.75]], "core_seconds": seconds},
        hardware={"device": "A CPU", "platform": "cpu", "devices": 1, "cores": 2},
        date="2026-01-02",
        versions={"trm": "1"},
        command="python scripts/search_recipe.py",
        seed=seed,
        case={"recipe": recipe, "data": data},
    )


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_hold_what_the_records_say(name: str):
    """Where this fails, `python scripts/curves.py` draws them again."""
    picture = PICTURES[name]
    drawn = draw(picture.panels(read_records(SCRIPTS / "results")), picture.colors)
    assert (SCRIPTS / name).read_text(encoding="utf-8") == drawn


def test_a_search_is_drawn_by_board_and_in_hours_where_it_is_long():
    records = [
        search_record("digits", "sudoku-random", 7200),
        search_record("plain-fast", "sudoku-random", 3600),
        search_record("digits", "4x4", 90),
        search_record("digits", "4x4", 100, seed=1),
        search_record("another", "4x4", 5000),
    ]
    assert search_panels(records) == [
        Panel("4x4 Sudokus", "core-seconds", [Curve("digits", [(s / 2, 0.25), (s, 0.75)]) for s in (90, 100)]),
        Panel(
            "9x9 Sudokus",
            "core-hours",
            [Curve(name, [(h / 2, 0.25), (h, 0.75)]) for name, h in (("digits", 2), ("plain-fast", 1))],
        ),
    ]


def test_a_run_is_a_line_in_the_colour_of_its_recipe():
    panel = Panel("A & B", "steps", [Curve("digits", [(5, 0.5), (10, 1.0)]), Curve("plain", [(10, 0.0)])])
    drawing = ElementTree.fromstring(draw([panel], STATE_COLORS))
    svg = "{http://www.w3.org/2000/svg}"
    lines = [line.attrib for line in drawing.iter(f"{svg}polyline") if "stroke-width" in line.attrib]
    assert [line["stroke"] for line in lines] == [STATE_COLORS["digits"], STATE_COLORS["plain"]]
    assert lines[0]["points"] == "46.0,246.0 176.0,146.0 306.0,46.0"
    assert lines[1]["points"] == "46.0,246.0 306.0,246.0"
    texts = [text.text for text in drawing.iter(f"{svg}text")]
    assert texts[:2] == ["plain", "digits"], "recipes that are drawn, in the order of the colours"
    assert "A & B, exact accuracy" in texts
