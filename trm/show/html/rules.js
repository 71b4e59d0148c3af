"use strict";
// The rules of Sudoku and mazes, which judge answers, as in trm/puzzles/kinds. Entry: `RULES`.
const RULES = (() => {
  const unitsOf = (side, [high, across]) => {
    const units = [];
    for (let i = 0; i < side; i++) {
      const row = [], column = [], box = [];
      const top = Math.floor(i / (side / across)) * high, left = (i % (side / across)) * across;
      for (let j = 0; j < side; j++) {
        row.push(i * side + j);
        column.push(j * side + i);
        box.push((top + Math.floor(j / across)) * side + left + (j % across));
      }
      units.push(["row", row], ["column", column], ["box", box]);
    }
    return units;
  };

  // Tokens of Sudokus: 1 a blank, 2 and above the digits.
  const sudoku = ({ width: side, box }) => {
    const units = unitsOf(side, box);
    const wrongCells = (question, answer) => {
      const isDigit = (token) => token >= 2 && token <= side + 1;
      const wrong = Uint8Array.from(answer, (token, i) => !isDigit(token) || (question[i] > 1 && question[i] !== token) ? 1 : 0);
      for (const [, unit] of units)
        for (const a of unit) for (const b of unit) if (a !== b && answer[a] === answer[b]) wrong[a] = 1;
      return wrong;
    };
    return {
      judge: (question, answer) => {
        const wrong = wrongCells(question, answer);
        return { wrong, solved: !wrong.includes(1) && question.every((token) => token >= 1) };
      },
      problem: (question) => {
        for (const [name, unit] of units)
          for (const [i, a] of unit.entries())
            for (const b of unit.slice(i + 1))
              if (question[a] > 1 && question[a] === question[b])
                return { text: `contradictory clues: two ${question[a] - 1} in a ${name}`, cells: [a, b] };
        return null;
      },
    };
  };

  // Tokens of mazes: 1 wall, 2 free, 3 start, 4 goal, 5 path.
  const maze = ({ width: side }) => {
    const distances = (board, from) => {
      const moves = new Int32Array(board.length).fill(-1);
      let front = [...board.keys()].filter((cell) => board[cell] === from);
      for (const cell of front) moves[cell] = 0;
      while (front.length) {
        const next = [];
        for (const cell of front) {
          const column = cell % side;
          const around = [cell - side, cell + side, column > 0 ? cell - 1 : -1, column < side - 1 ? cell + 1 : -1];
          for (const to of around)
            if (board[to] > 1 && moves[to] === -1) { moves[to] = moves[cell] + 1; next.push(to); }
        }
        front = next;
      }
      return moves;
    };
    const countMoves = (board) => {
      const moves = distances(board, 3);
      return Math.max(-1, ...[...board.keys()].filter((cell) => board[cell] === 4).map((cell) => moves[cell]));
    };
    return {
      judge: (question, answer) => {
        const shortest = countMoves(question);
        const fromStart = distances(question, 3), fromGoal = distances(question, 4);
        const misplaced = Uint8Array.from(answer, (token, i) =>
          token !== question[i] && !(token === 5 && question[i] === 2) ? 1 : 0);
        const wrong = misplaced.map((bad, i) =>
          bad || (answer[i] === 5 && fromStart[i] + fromGoal[i] !== shortest) ? 1 : 0);
        const length = answer.filter((token) => token === 5).length + 1;
        const alone = answer.map((token) => (token >= 3 ? token : 1));
        return { wrong, solved: !misplaced.includes(1) && countMoves(alone) === length && shortest === length };
      },
      problem: (question) => {
        for (const [token, name] of [[3, "start"], [4, "goal"]]) {
          const found = question.filter((other) => other === token).length;
          if (found !== 1) return { text: `found ${found === 0 ? "no" : found} ${name}, expected one`, cells: [] };
        }
        return countMoves(question) > 0 ? null : { text: "no way from S to G: walls part them", cells: [] };
      },
    };
  };
  return { sudoku, maze };
})();
