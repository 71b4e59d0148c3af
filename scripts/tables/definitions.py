"""The tables that a README can hold, by name. Entry: `TABLES`."""

from collections.abc import Sequence

from records import Record

from tables.render import Cell, Column, Table, case, configuration, figure
from trm.evaluation.report import wilson_interval

CASES = {
    "layers": "norm, SwiGLU, attention, rope, embeddings, heads, with gradients, float32 and bfloat16",
    "losses": "stablemax and softmax, with gradients",
    "optim": "AdamATan2, sign SGD, schedule, moving average, initialisation (the spread of the draws)",
    "trm_att_step": "a supervision step in six modes, exploration included",
    "trm_att_loss": "losses, metrics and all gradients",
    "trm_att_bf16": "the same in bfloat16 (tolerance 2 % forward, 5 % gradients)",
    "trm_mlp_t": "the MLP mixer",
    "trm_learned_pos": "learned positions",
    "trm_puzzle_pad": "a puzzle embedding that is padded",
    "trm_no_puzzle": "no puzzle embedding",
    "trm_act_continue": "q_continue learned",
    "trm_att_eval16": "sixteen steps of evaluation",
    "train_trajectory": "three training steps: weights, moments, average, puzzle embeddings, carry",
    "train_trajectory_frozen": "only the puzzle embeddings learn",
    "evaluate_loop": "evaluation of a set of two",
    "hrm_att": "HRM with attention, q_continue, all gradients",
    "hrm_mlp_t": "HRM with the MLP mixer, q_continue, all gradients",
    "trm_singlez": "one latent, all gradients",
    "trm_hier6": "six latents, all gradients",
    "trm_hier6_l4": "six latents, four L cycles, all gradients",
    "transformers_baseline": "the baseline and its options, all gradients",
    "checkpoint": "a checkpoint read and written, byte for byte; its puzzle embeddings in tables of other sizes",
    "reference_failures": "configurations that mostly fail in the original: they work or are refused in one line",
    "sudoku_small": "a Sudoku set built from the recorded files and draws, and read",
    "maze_small": "a maze set built from the recorded files and draws, and read",
    "arc_small": "an ARC set built from the recorded files and draws, and read",
    "arc_functions": "ARC grids, frames, crops, augmentations, duplicates",
    "arc_evaluator": "votes, ranks, pass@K and submissions of seven evaluations, one process and two",
    "batches_sudoku": "training and test batches of Sudokus, one process and two",
    "batches_maze": "training and test batches of mazes, one process and two",
    "batches_arc": "training and test batches of ARC, one process and two",
}
"""What the parity cases hold."""

BUILDERS = {
    "Sudoku": "Sudoku, 1,000 puzzles",
    "ARC-1": "ARC-AGI-1 and ConceptARC",
    "ARC-2": "ARC-AGI-2 and ConceptARC",
}
VARIANTS = {"original": "the original", "online": "ours, `--online-aug`", "compact": "ours, `--compact`", "": "ours"}
LAYOUTS = {
    "replicated": "each device, as today",
    "host": "the devices of a host together",
    "all": "all devices together",
}
PROGRAMS = {"ours": "ours", "original": "the original, eager", "compiled original": "the original, `torch.compile`"}


ONE_CHANGE = "sudoku-6x6"
"""Puzzle set of `search_recipe.py` on which recipes differ from `quickstart_digits` in one option."""


def _error(group: Sequence[Record]) -> str:
    (record,) = group
    error = record.figures["error_per_tolerance"]
    return "exact" if error == 0 else "above the tolerance" if error is None else f"{error:.2g}"


def _from_to(group: Sequence[Record], name: str) -> str:
    figures = group[0].figures
    return f"{figures[f'{name}_warm']:,} and {figures[f'{name}_end']:,}"


def _solved(group: Sequence[Record]) -> str:
    (record,) = group
    solved, puzzles = record.figures["solved"], record.figures["puzzles"]
    low, high = wilson_interval(solved / puzzles, puzzles)
    return f"{solved} of {puzzles} ({low:.1%} to {high:.1%})"


def _variant(name: str) -> Cell:
    """Return a cell that names the variant of a built set."""
    return lambda group: VARIANTS[group[0].case[name].partition(", ")[2]]


def _of_recipe(recipe: str, cell: Cell) -> Cell:
    """Return a cell of the records of one recipe, in the order of their seeds."""

    def of_recipe(group: Sequence[Record]) -> str:
        chosen = [record for record in group if record.case["recipe"] == recipe]
        return cell(sorted(chosen, key=lambda record: record.seed or 0))

    return of_recipe


def _once(cell: Cell) -> Cell:
    """Return a cell of the first record alone, for what is equal in a line."""
    return lambda group: cell(group[:1])


def _caught_up(group: Sequence[Record]) -> str:
    """Say at which share of the plain recipe's steps the fast one first reaches the plain one's end."""
    runs = {(record.case["recipe"], record.seed): record.figures for record in group}
    shares = []
    for seed in sorted(seed or 0 for recipe, seed in runs if recipe == "fast"):
        plain, fast = runs["plain", seed], runs["fast", seed]
        reached = [step for step, accuracy in fast["evaluations"] if accuracy >= plain["exact_accuracy"]]
        shares.append(f"{reached[0] / plain['steps']:.0%}" if reached else "not reached")
    return ", ".join(shares)


def _reached(group: Sequence[Record]) -> str:
    """Say after how many core-seconds an evaluation first shows 98 %."""
    reached = [[seconds for _, seconds, score in record.figures["curve"] if score >= 0.98] for record in group]
    return ", ".join(f"{seconds[0]:,.0f}" if seconds else "not reached" for seconds in reached)


def _accuracies(group: Sequence[Record]) -> str:
    """List the accuracy of each run; where runs held back puzzles of their own, also that of all these together."""
    listed = figure("exact_accuracy", "{:.1%}")(group)
    counts = [record.figures.get("puzzles", 0) for record in group]
    if not all(counts) or len(group) == 1:
        return listed
    solved = sum(record.figures["exact_accuracy"] * count for record, count in zip(group, counts, strict=True))
    low, high = wilson_interval(solved / sum(counts), sum(counts))
    return f"{listed}; together {solved / sum(counts):.0%} ({low:.0%} to {high:.0%})"


def _mean(name: str, form: str) -> Cell:
    """Return the mean of a figure over the runs of a line."""
    return lambda group: form.format(sum(record.figures[name] for record in group) / len(group))


def _changes(group: Sequence[Record]) -> str:
    """List the settings of a recipe, without those of all recipes."""
    shared = ("data.validation=", "train.eval_interval=")
    return ", ".join(f"`{setting}`" for setting in group[0].settings if not setting.startswith(shared))


def _solver(config: str) -> Table:
    columns = (
        Column("options", case("way")),
        Column("solved, with 95 % interval", _solved),
        Column("steps per puzzle", figure("steps_per_puzzle")),
        Column("puzzles/s", figure("puzzles_per_second", "{:,.3g}")),
    )
    return Table("solver", columns, keep=lambda record: record.config == config)


def _after(attempts: int) -> Cell:
    """Return the share that is solved after at most some attempts."""

    def cell(group: Sequence[Record]) -> str:
        last = max((r for r in group if r.case["attempts"] <= attempts), key=lambda record: record.case["attempts"])
        solved, count = last.figures["solved"], last.case["count"]
        # Attempts end when every puzzle is solved.
        if last.case["attempts"] < attempts and solved < count:
            return ""
        low, high = wilson_interval(solved / count, count)
        return f"{solved / count:.0%} ({low:.0%} to {high:.0%})"

    return cell


def _puzzles(group: Sequence[Record]) -> str:
    """Say how many puzzles of which file were attempted, and which where they are not the first."""
    case = group[0].case
    skip, count = case.get("skip", 0), case["count"]
    return f"{f'{skip + 1} to {skip + count}' if skip else count} of `{case['puzzles']}`"


def _differ_by(group: Sequence[Record]) -> str:
    """Say what tells attempts apart."""
    case = group[0].case
    names = ["symmetries"] if case["views"] else []
    if case["noise"]:
        latents = "" if case["noise_on"] == "both" else f" on {case['noise_on']}"
        when = {"start": "at the start", "steps": "at every step", "both": "at the start and at every step"}
        names.append(f"noise {case['noise']:g}{latents} {when[case['noise_at']]}")
    if guesses := case.get("guesses"):
        names.append(f"{guesses} guess{'' if guesses == 1 else 'es'}")
    return ", ".join(names)


def _with_kernel(webassembly: bool, cell: Cell) -> Cell:
    """Return a cell of the record with WebAssembly, or of the one without."""

    def chosen(group: Sequence[Record]) -> str:
        found = [record for record in group if record.case["webassembly"] == webassembly]
        return cell(found) if found else ""

    return chosen


def _of_last(cell: Cell) -> Cell:
    """Return a cell of the record with most attempts."""
    return lambda group: cell([max(group, key=lambda record: record.case["attempts"])])


TABLES = {
    "attempts": Table(
        "attempts",
        (
            Column("puzzles", _puzzles),
            Column("model", _once(case("model"))),
            Column("attempts differ by", _differ_by),
            Column("1 attempt", _after(1)),
            Column("8", _after(8)),
            Column("64", _after(64)),
            Column("512", _after(512)),
            Column("network passes per puzzle", _of_last(figure("passes_per_puzzle", "{:,.0f}"))),
            Column("processor seconds per puzzle", _of_last(figure("processor_seconds_per_puzzle", "{:.2g}"))),
        ),
        row=lambda record: [
            record.case.get(name, "")
            for name in ("model", "puzzles", "count", "skip", "views", "noise", "noise_on", "noise_at", "guesses")
        ],
    ),
    "parity": Table(
        "parity",
        (
            Column("case", lambda group: f"`{group[0].case['case']}`"),
            Column("what it holds", lambda group: CASES.get(group[0].case["case"], "")),
            Column("results", figure("compared", "{:,}")),
            Column("largest error / tolerance", _error),
        ),
    ),
    "comparison": Table(
        "comparison",
        (
            Column("configuration", configuration),
            Column("program", lambda group: PROGRAMS[group[0].case["program"]]),
            Column("training, s", figure("train_seconds", "{:.2f}")),
            Column("evaluation, s", figure("evaluate_seconds", "{:.2f}")),
            Column("first training step, s", figure("train_first_seconds")),
            Column("first 20 training steps, from the start, s", figure("first_20_train_steps_seconds", "{:.0f}")),
        ),
    ),
    "step": Table(
        "step",
        (
            Column("configuration", configuration),
            Column("batch", case("batch_size")),
            Column("training, s", figure("train_seconds", "{:.3g}")),
            Column("evaluation, s", figure("evaluation_seconds", "{:.3g}")),
            Column("GFLOP/s in training", figure("train_gflop_per_second", "{:,.0f}")),
            Column("share of peak", figure("train_share_of_peak", "{:.0%}")),
            Column("compilation of both, s", lambda group: ", ".join(_compilations(group[0]))),
        ),
    ),
    "kernels": Table(
        "kernels",
        (
            Column("configuration", configuration),
            Column("batch", case("batch_size")),
            Column("at least, ms", figure("bound_ms", "{:,.0f}")),
            Column("multiplying alone, ms", figure("products_ms", "{:,.0f}")),
        ),
        # The batches of one of many devices are for `scale-speed`.
        keep=lambda record: not any(setting.startswith("train.global_batch_size=") for setting in record.settings),
    ),
    "memory": Table(
        "memory",
        (
            Column("configuration", configuration),
            Column("batch", case("batch_size")),
            Column("positions", figure("positions", "{:,}")),
            Column("state, GB", figure("state_gb", "{:.2f}")),
            Column("temporary MB per puzzle", figure("temporary_mb_per_puzzle")),
            Column("with `remat`", figure("temporary_mb_per_puzzle_with_remat")),
            Column("in 80 GB", figure("fits_with")),
            Column("GB in all", figure("total_gb")),
        ),
        keep=lambda record: record.case["device_gb"] == 80,
    ),
    "scaling": Table(
        "scaling",
        (
            Column("size", _once(case("size"))),
            Column("values", case("value", "{:,}")),
            Column("ms per step, fastest", figure("seconds", "{:,.0f}", scale=1e3, of="min")),
            Column("temporary MB per device", figure("temporary_mb_per_device", "{:,.0f}")),
            Column("MB exchanged", figure("collective_mb")),
        ),
        row=lambda record: [record.config, record.settings, record.case["width"], record.case["size"]],
    ),
    "scale-program": Table(
        "scale-program",
        (
            Column("configuration", _once(configuration)),
            Column("devices", case("devices")),
            Column("batch", case("batch_size", "{:,}")),
            Column("collectives", figure("collectives", "{}")),
            Column("MB summed", figure("all_reduce_bytes", scale=1e-6)),
            Column("MB gathered", figure("all_gather_bytes", scale=1e-6)),
        ),
        row=lambda record: [record.config, record.settings],
    ),
    "scale-network": Table(
        "scale-network",
        (
            Column("network", _once(case("network"))),
            Column("MB summed", _once(lambda group: f"{group[0].case['bytes'] / 1e6:.1f}")),
            Column("devices", case("devices")),
            Column("ms", figure("all_reduce_ms", "{:,.2f}")),
        ),
        row=lambda record: [record.case["network"], record.case["bytes"]],
    ),
    "scale-speed": Table(
        "scale-speed",
        (
            Column("configuration", _once(configuration)),
            Column("network", _once(case("network"))),
            Column("scaling", _once(case("rule"))),
            Column("devices", case("devices")),
            Column("batch", case("batch_size", "{:,}")),
            Column("step, ms", figure("step_ms", "{:,.1f}")),
            Column("sum, ms", figure("all_reduce_ms", "{:,.2f}")),
            Column("rows, ms", figure("all_gather_ms", "{:,.2f}")),
            Column("puzzles/s", figure("puzzles_per_second", "{:,.0f}")),
            Column("efficiency", figure("efficiency", "{:.0%}")),
        ),
        row=lambda record: [record.config, record.case["network"], record.case["rule"]],
    ),
    "scale-table": Table(
        "scale-table",
        (
            Column("network", _once(case("network"))),
            Column("held by", _once(lambda group: LAYOUTS[group[0].case["layout"]])),
            Column("devices", case("devices")),
            Column("batch", case("batch_size", "{:,}")),
            Column("GB per device", figure("gb_per_device", "{:,.2f}")),
            Column("MB received per device and step", figure("mb_received", "{:,.2f}")),
            Column("ms", figure("ms", "{:,.2f}")),
        ),
        row=lambda record: [record.case["network"], record.case["layout"]],
    ),
    "scale-loader": Table(
        "scale-loader",
        (
            Column("set", lambda group: BUILDERS[group[0].case["loader"].partition(", ")[0]]),
            Column("program", _variant("loader")),
            Column("configuration", configuration),
            Column("puzzles/s that a host needs", figure("needed_per_second", "{:,.0f}")),
            Column("puzzles/s of a core", figure("per_core_per_second", "{:,.0f}")),
            Column("cores", figure("cores", "{:.2g}")),
        ),
    ),
    "scale-slice": Table(
        "scale-slice",
        (
            Column("hosts", case("hosts")),
            Column("puzzles of each host", case("host_batch", "{:,}")),
            Column("processor ms of a step", figure("milliseconds")),
            Column("puzzles/s of a host's core", figure("puzzles_per_second", "{:,.0f}")),
        ),
    ),
    "builders": Table(
        "data",
        (
            Column("set", lambda group: BUILDERS[group[0].case["builder"].partition(", ")[0]]),
            Column("augmentations", case("num_aug", "{:,}")),
            Column("program", _variant("builder")),
            Column("seconds", figure("seconds", "{:,.3g}")),
            Column("peak memory, MB", figure("peak_memory_mb", "{:,.0f}")),
            Column("disk, MB", figure("disk_mb", "{:,.4g}")),
            Column("examples, millions", figure("examples", "{:,.1f}", scale=1e-6)),
        ),
        keep=lambda record: "builder" in record.case,
    ),
    "loader": Table(
        "data",
        (
            Column("set", lambda group: BUILDERS[group[0].case["loader"].partition(", ")[0]]),
            Column("program", _variant("loader")),
            Column("batch", figure("batch_size", "{:,}")),
            Column("batches/s", figure("batches_per_second", "{:,.0f}")),
            Column("opening the set, ms", figure("open_milliseconds", "{:,.0f}")),
        ),
        keep=lambda record: "loader" in record.case,
    ),
    "generator": Table(
        "data",
        (
            Column("puzzles", case("generator")),
            Column("number", figure("count", "{:,}")),
            Column("seconds, start included", figure("seconds")),
            Column("puzzles/s", figure("per_second")),
        ),
        keep=lambda record: "generator" in record.case,
    ),
    "start": Table(
        "start",
        (
            Column("command", lambda group: f"`{group[0].case['called']}`"),
            Column("seconds", figure("seconds", "{:.2g}")),
            Column("processor seconds", figure("processor_seconds", "{:.2g}")),
        ),
    ),
    "fuzz": Table(
        "fuzz",
        (
            Column("reader", case("target")),
            Column("inputs", figure("inputs", "{:,}")),
            Column("read", figure("read", "{:,}")),
            Column("refused in one line", figure("refused", "{:,}")),
            Column("faults", figure("faults", "{:,}")),
        ),
    ),
    "fuzz-coverage": Table(
        "fuzz-coverage",
        (
            Column("reader", case("target")),
            Column("inputs", figure("inputs", "{:,}")),
            Column("inputs/s", figure("inputs_per_second", "{:,}")),
            Column("edges reached by the good inputs", figure("covered_by_seeds", "{:,}")),
            Column("by all", figure("covered", "{:,}")),
            Column("faults", figure("faults", "{:,}")),
        ),
    ),
    "pages": Table(
        "pages",
        (
            Column("model", _once(lambda group: f"`{group[0].case['model']}`")),
            Column("page, MB", _once(figure("page_mb"))),
            Column("seconds per supervision step", _with_kernel(True, figure("seconds_per_step", "{:.2g}"))),
            Column("without WebAssembly", _with_kernel(False, figure("seconds_per_step", "{:.2g}"))),
            Column("browser", _once(figure("browser"))),
        ),
        row=lambda record: record.case["model"],
    ),
    "saving": Table(
        "saving",
        (
            Column("configuration", configuration),
            Column("file, MB", figure("file_mb", "{:,.0f}")),
            Column("the loop waits, s", figure("copy_seconds", "{:.2f}")),
            Column("share of the loop", figure("share_of_loop", "{:.2%}")),
            Column("a thread writes, s", figure("write_seconds", "{:.2f}")),
            Column("copied, MB/s", figure("copy_mb_per_second", "{:,.0f}")),
            Column("written, MB/s", figure("write_mb_per_second", "{:,.0f}")),
        ),
    ),
    "kills": Table(
        "kills",
        (
            Column("kills", figure("kills", "{:,}")),
            *(
                Column(f"while {doing}", figure(f"kills_{doing}", "{:,}"))
                for doing in ("starting", "training", "saving", "evaluating")
            ),
            Column("steps of a run", figure("steps", "{:,}")),
            Column("runs that ended", figure("runs", "{:,}")),
            Column("files that differ", figure("differences", "{:,}")),
        ),
    ),
    "soak": Table(
        "soak",
        (
            Column("steps", case("steps", "{:,}")),
            Column("evaluations", case("evaluations", "{:,}")),
            Column("checkpoints", case("checkpoints", "{:,}")),
            Column("memory after the warm-up, MB", figure("memory_warm_mb", "{:,.1f}")),
            Column("at the end, MB", figure("memory_end_mb", "{:,.1f}")),
            Column("growth", figure("memory_growth", "{:.1%}")),
            Column("open files", lambda group: _from_to(group, "files")),
            Column("threads", lambda group: _from_to(group, "threads")),
            Column("metrics, bytes a step", figure("metrics_bytes_per_step", "{:,.0f}")),
            Column("log, bytes", figure("log_bytes", "{:,}")),
        ),
    ),
    "solver-quickstart": _solver("runs/quickstart/weights.safetensors"),
    "solver-sudoku": _solver("sudoku"),
    "votes": Table(
        "votes",
        (
            Column("tasks", case("tasks", "{:,}")),
            Column("augmentations of each", case("views", "{:,}")),
            Column("predictions", figure("predictions", "{:,}")),
            Column("seconds", figure("seconds", "{:,.3g}")),
        ),
    ),
    "recipes": Table(
        "recipes",
        (
            Column("board", _once(case("board"))),
            Column("clues", _once(lambda group: str(group[0].case["clues"] or "as few as can be"))),
            Column("plain: steps", _of_recipe("plain", _once(figure("steps", "{:,}")))),
            Column("exact accuracy", _of_recipe("plain", figure("exact_accuracy", "{:.0%}"))),
            Column("fast: steps", _of_recipe("fast", _once(figure("steps", "{:,}")))),
            Column("exact accuracy", _of_recipe("fast", figure("exact_accuracy", "{:.0%}"))),
            Column("as good as plain at its end after", _caught_up),
        ),
        row=lambda record: [record.case["board"], record.case["clues"]],
    ),
    "search": Table(
        "search",
        (
            Column("puzzles", _once(case("data"))),
            Column("recipe", _once(case("recipe"))),
            Column("steps", _once(figure("steps", "{:,}"))),
            Column("core-seconds per step", figure("core_seconds_per_step", "{:.2f}")),
            Column("core-seconds, compilation included", figure("core_seconds", "{:,.0f}")),
            Column("exact accuracy", _accuracies),
            Column("core-seconds to 98 %", _reached),
            Column("on the test set", figure("test_exact_accuracy", "{:.1%}")),
        ),
        keep=lambda record: record.case["data"] != ONE_CHANGE,
        row=lambda record: [record.case["data"], record.case["recipe"]],
    ),
    "search-options": Table(
        "search",
        (
            Column("recipe", _once(case("recipe"))),
            Column("settings", _once(_changes)),
            Column("steps", _once(figure("steps", "{:,}"))),
            Column("core-seconds per step", _mean("core_seconds_per_step", "{:.2f}")),
            Column("core-seconds, compilation included", _mean("core_seconds", "{:,.0f}")),
            Column("exact accuracy, held back", _accuracies),
            Column("test puzzles", _mean("test_exact_accuracy", "{:.1%}")),
        ),
        keep=lambda record: record.case["data"] == ONE_CHANGE,
        row=lambda record: record.case["recipe"],
    ),
    "quickstart": Table(
        "quickstart",
        (
            Column("seconds, from the command to the drawn puzzle", figure("seconds", "{:,.0f}")),
            Column("steps", figure("steps", "{:,}")),
            Column("steps/s", figure("steps_per_second", "{:.0f}")),
            Column("parameters", figure("parameters", "{:,}")),
            Column("solved, with 95 % interval", _solved),
            Column("right cells", figure("accuracy", "{:.1%}")),
        ),
    ),
}


def _compilations(record: Record) -> list[str]:
    names = ("train_compile_seconds", "evaluation_compile_seconds")
    return [f"{record.figures[name]:.1f}" for name in names if name in record.figures]
