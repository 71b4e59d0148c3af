"""A tour of the program, cell by cell: puzzles, a network, its training, an answer, and two pages for the browser.

Run it whole (`python scripts/tour.py`, about a minute) or cell by cell in an editor that knows `# %%`.
"""

# %% Puzzles: 4x4 Sudokus, each with one solution, made here and now
import tempfile
from pathlib import Path

import numpy as np

import trm
from trm.evaluation.inspection import trace_examples
from trm.puzzles.kinds.sudoku.build import build_split
from trm.puzzles.kinds.sudoku.generate import generate_many
from trm.puzzles.kinds.tables import Table
from trm.puzzles.writing import write_puzzle_set
from trm.show.html.player import make_player
from trm.show.inspection.page import make_page

folder = Path(tempfile.mkdtemp(prefix="trm-tour-"))
rng = np.random.default_rng(0)
table = Table(*(np.array(column) for column in zip(*generate_many(4, 360, seed=0), strict=True)))
train, test = (Table(*(column[part] for column in table)) for part in (slice(300), slice(300, None)))
splits = {"train": build_split("train", train, rng, num_aug=20), "test": build_split("test", test, rng)}
write_puzzle_set(folder / "data", splits, ["<blank>"])
print(splits["train"].sets["all"].inputs[0].reshape(4, 4))  # token 1 is a blank, 2 to 5 are the digits

# %% A network: every key of the configuration is in configs/README.md
settings = {"data.path": str(folder / "data"), "train.epochs": 14, "train.eval_interval": 14}
config = trm.config("quickstart_digits", settings)
print(config.model.recursion, config.model.H_cycles, "H cycles of", config.model.L_cycles, "L cycles")

# %% Training: each line of metrics goes to every hook
losses = []
outcome = trm.train(config, folder / "run", hooks=[lambda line: losses.append(line.get("train/lm_loss"))])
print("losses:", [round(loss, 3) for loss in losses if loss is not None][::10])
accuracy = outcome.reports["all"].metrics["exact_accuracy"]
print(f"{accuracy:.1%} of {len(test.ratings)} unseen puzzles")

# %% An answer: checked against the rules, with the network's own confidence
model = trm.load(folder / "run" / "weights.safetensors")
answer = model.solve(model.kind.format(splits["test"].sets["all"].inputs[0]))
print(answer.text, answer.valid, answer.confidence, answer.steps)

# %% Its thoughts: latents and answers after every supervision step, where it would stop, what it takes from where
found = trm.inspect(model, splits["test"])
print("right after each step:", found.exact.mean(axis=1).round(3))
print("steps until it stops:", found.stopped.steps.mean())
print("change of z_H in each step:", np.median(found.record.distances["z_H"], axis=1).round(4))

# %% Two pages for the browser: the report, and a player of the hardest puzzles
hardest = found.hardest(4)
traces = trace_examples(model, found, hardest)
picture = model.kind.picture(model.metadata.seq_len, model.metadata.vocab_size)
report = make_page("The tour: how it thinks", "4x4 Sudokus", picture, found, hardest.tolist(), traces)
player = make_player("The tour", picture, [f"Puzzle {i}" for i in found.examples[hardest]], traces)
for name, page in (("report.html", report), ("player.html", player)):
    (folder / name).write_text(page, encoding="utf-8")
    print(folder / name)
