"""The moving picture of the README: small, whole, one frame after each H cycle, and of the bundled puzzle."""

import re
import xml.etree.ElementTree as ElementTree

import make_picture
import numpy as np

from trm.solving.attempt_traces import AttemptTrace, PuzzleTrace

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_small_and_ends_solved():
    text = make_picture.PICTURE.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert "href" not in text
    frames = [g for g in ElementTree.fromstring(text).iter(f"{SVG}g") if g.get("class") == "frame"]
    captions = [frame.findall(f"{SVG}text")[-1].text for frame in frames]
    assert captions[0] == "the puzzle"
    assert captions[-1] is not None
    assert captions[-1].endswith("solved")
    assert all(re.fullmatch(r"step \d of 8, H cycle \d: (\d+ wrong|solved)", caption or "") for caption in captions[1:])


def test_frames_are_the_cycles_until_it_is_solved():
    truth = np.tile(np.arange(2, 11), 9)
    question = np.where(np.arange(81) < 80, truth, 1)
    predictions = np.broadcast_to(truth, (3, 2, 81)).copy()
    predictions[0, :, 80] = 2
    wrong = predictions != truth
    attempt = AttemptTrace(
        predictions, np.full(predictions.shape, 0.5), np.zeros((3, 2)), None, wrong, ~wrong.any(axis=-1)
    )
    drawing = ElementTree.fromstring(make_picture.draw(PuzzleTrace(question, truth, (attempt,))))
    frames = [g for g in drawing.iter(f"{SVG}g") if g.get("class") == "frame"]
    # The puzzle, and two H cycles of each of two steps: the third is no longer needed.
    assert len(frames) == 5
    digits = [[text.text for text in frame.findall(f"{SVG}text")][:-1] for frame in frames]
    assert digits == [[], ["1"], ["1"], ["9"], ["9"]]
    assert [next(frame.iter(f"{SVG}text")).get("class") for frame in frames[1:]] == ["w", "w", None, None]
