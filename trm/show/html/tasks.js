"use strict";
// The ARC tasks of a served page: a person chooses a test input, or pastes tasks. Entry: `makeTasks`, which returns the functions
// that `startLive` calls. The network was trained on the task: a request has the task's name, and the test input as its only grid.
const makeTasks = (data, { complain, player }) => {
  const side = data.picture.width;
  const byId = (id) => document.getElementById(id);
  const tests = [];
  let chosen = null;

  // The tokens of a frame: 0 beside the grid, 2 for the first colour.
  const frame = (rows) => {
    const tokens = new Array(side * side).fill(0);
    rows.forEach((row, y) => [...row].forEach((color, x) => { tokens[y * side + x] = Number(color) + 2; }));
    return tokens;
  };
  const grid = (rows) => rows.map((row) => [...row].map(Number));
  const figure = (name, ...boards) => {
    const caption = document.createElement("figcaption"), row = document.createElement("div"), whole = document.createElement("figure");
    caption.textContent = name;
    row.className = "pair";
    row.append(...boards);
    whole.append(caption, row);
    return whole;
  };

  const show = () => {
    const { task, test } = chosen;
    byId("test").replaceChildren(figure("Test input", player.draw("Test input", frame(test.input), { most: 32, room: 300 })));
    const small = { least: 4, most: 24, room: Math.min(180, (innerWidth - 70) / 2) };
    byId("examples").replaceChildren(...task.train.map(({ input, output }, i) => figure(`Example ${i + 1}`,
      player.draw(`Example ${i + 1}, input`, frame(input), small), "→", player.draw(`Example ${i + 1}, output`, frame(output), small))));
  };
  const choose = (number) => {
    chosen = tests[number];
    byId("task").value = number;
    complain("");
    show();
  };
  const add = (tasks) => {
    const first = tests.length;
    for (const task of tasks) task.test.forEach((test, i) => {
      const of = task.test.length > 1 ? `: test input ${i + 1} of ${task.test.length}` : "";
      byId("task").add(new Option(task.name + of, tests.length));
      tests.push({ task, test, name: `${task.name}: test input ${i + 1} of ${task.test.length}` });
    });
    if (tests.length > first) choose(first);
  };
  byId("task").addEventListener("change", () => choose(Number(byId("task").value)));
  const read = async (text) => {
    complain("");
    try {
      const response = await fetch(`tasks${location.search}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text }),
      });
      if (!response.ok) return complain((await response.text()).trim().replace(/^error: /, ""));
      add(await response.json());
    } catch (error) {
      // Only the connection can fail here.
      complain("the server has ended: start trm play again");
    }
  };
  byId("read").addEventListener("click", () => read(byId("text").value));
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea")) return;
    event.preventDefault();
    read(event.clipboardData.getData("text"));
  });

  // Each attempt votes for its answer. Among answers with equal votes, the one with the higher mean confidence wins.
  const count = (puzzle) => {
    const at = (puzzle.steps * puzzle.cycles - 1) * side * side, votes = new Map();
    puzzle.attempts.forEach(({ tokens, q_halt }, i) => {
      const answer = tokens.subarray(at, at + side * side).join();
      const found = votes.get(answer) ?? { first: i, votes: 0, sure: 0 };
      votes.set(answer, { ...found, votes: found.votes + 1, sure: found.sure + q_halt.at(-1) });
    });
    return [...votes.values()].sort((a, b) => b.votes - a.votes || b.sure / b.votes - a.sure / a.votes)[0];
  };
  add(data.tasks);
  return {
    ask: (attempts) => {
      if (!chosen) return complain("found no task, expected one: paste it");
      const { task, test, name } = chosen;
      return {
        name, question: frame(test.input), truth: test.output && frame(test.output), judged: test.output !== null,
        sent: { task: task.name, input: grid(test.input), output: test.output && grid(test.output) },
        views: Array.from({ length: Math.min(attempts, task.views) }, (_, i) => i),
        way: (view) => (view ? "augmentation" : "as it is"),
      };
    },
    choose: (puzzle) => {
      const best = count(puzzle);
      puzzle.winner = best.first;
      puzzle.badge = `★ ${best.votes} of ${puzzle.attempts.length} votes`;
    },
    judge: (puzzle) => {
      const best = count(puzzle), many = puzzle.attempts.length;
      const right = puzzle.attempts[best.first].solved?.at(-1);
      const what = right === undefined ? "the task has no solution to check it" : right ? "it is right" : "it is wrong";
      return many === 1 ? `One answer: ${what}` : `${best.votes} of ${many} augmentations vote for the answer: ${what}`;
    },
  };
};
