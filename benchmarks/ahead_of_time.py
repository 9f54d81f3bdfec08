"""Compile ichjax's programs for GPUs and TPUs without the hardware, and report what the compilers produce.

    python -m benchmarks.ahead_of_time [--all] [--only=NAME,NAME] [--check] [--list] [--output=DIR]

Nothing is run, so no time is claimed. Reported are memory, library calls, bytes written, collectives and, on a TPU, the
compiler's own estimate of cycles. `make accelerators` runs it in an environment of its own. `--check` compares with the
figures in results/ahead-of-time/limits.json, which may not get worse. Minutes a program.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from benchmarks import chips, compiled_text, record
from benchmarks.chip_programs import Program, flops, lower

COMPILED = record.RESULTS / "ahead-of-time"  # a file for each program, and the table
WORST = COMPILED / "limits.json"
DEFAULT = (
    Program("train", "H100", 1, 128),
    Program("train", "H100", 1, 128, remat=True),
    Program("train", "v5e", 1, 32),
    Program("train", "v5e", 8, 256),
    Program("train", "v5e", 8, 256, mode="shard_map"),
    Program("folds", "v5e", 8, 32, folds=8),
    Program("folds", "H100", 1, 32, folds=4, width=16),
    Program("network", "H100", 1, 64),
    Program("network", "v5e", 1, 64),
    Program("scan", "H100", 1, 64),
    Program("scan", "H100", 1, 64, inside_skull=True),
    Program("scan", "v5e", 1, 64),
    Program("scan", "v5e", 1, 64, inside_skull=True),
    Program("scan", "v5e", 8, 64),
    Program("scores", "H100", 1, 0),
)
MORE = (
    Program("train", "H200", 1, 128),
    Program("train", "v6e", 1, 32),
    Program("train", "H100", 1, 128, dtype="float32"),
    Program("train", "v5e", 8, 256, mode="pmap"),
    Program("train", "H100", 1, 32, config="ich"),
    Program("validate", "H100", 1, 128),
    Program("validate", "v5e", 1, 32),
    Program("scores", "v5e", 1, 0),
)
# {configuration of published size: its batch}, of networks of the literature.
PUBLISHED = {
    "kuo": 16, "kuang": 16, "cho": 8, "chang": 8, "grewal": 1, "ye": 1, "lee": 16, "chilamkurthy": 64, "prevedello": 32,
    "arbabshirani": 4, "jnawali": 4, "recurrent_unet": 1,
}  # fmt: skip
LITERATURE = tuple(
    Program("train", "H100", 1, batch, config=f"literature/{name}_full") for name, batch in PUBLISHED.items()
)
# Small, for the tests: seconds on one core.
SMALL = (Program("train", "H100", 1, 8, width=16, side=32), Program("train", "v5e", 8, 16, width=16, side=32))
SLACK = 1.01  # compilers of one version differ a little between machines


def main(argv: list[str] | None = None) -> int:
    """Compiles the chosen programs, prints and writes the table, and returns the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="more programs and chips")
    parser.add_argument("--only", default="", help="names of programs, see --list")
    parser.add_argument("--check", action="store_true", help="fail if a figure is worse than in limits.json")
    parser.add_argument("--list", action="store_true", help="print the programs' names and stop")
    parser.add_argument("--output", type=pathlib.Path, default=COMPILED, help="folder of the results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    programs = {program.name: program for program in (*DEFAULT, *MORE, *LITERATURE, *SMALL)}
    if options.one:
        write(programs[options.one], options.output)
        return 0
    usual = DEFAULT + (MORE + LITERATURE if options.all else ())
    chosen = options.only.split(",") if options.only else [program.name for program in usual]
    if unknown := [name for name in chosen if name not in programs]:
        parser.error(f"--only names {unknown[0]!r}; expected some of {', '.join(programs)}")
    if options.list:
        print("\n".join(programs))
        return 0
    failed, command = 0, [sys.executable, "-m", "benchmarks.ahead_of_time", f"--output={options.output}"]
    for name in chosen:
        print(f"compiling {name}", flush=True)
        # In a process of its own: a crashing compiler costs only this program.
        failed += subprocess.run([*command, "--one", name]).returncode != 0
    rows = [json.loads(path.read_text()) for name in programs if (path := options.output / f"{name}.json").is_file()]
    if not rows:
        return failed
    (options.output / "table.md").write_text(page(rows))
    rows = [row for row in rows if row["program"] in chosen]
    print(record.table([shown(row) for row in rows]))
    limits = json.loads(WORST.read_text())
    worse = [line for row in rows for line in worse_than(limits.get(row["program"], {}), row)]
    print("\n".join(worse) or f"no figure is worse than in {WORST.name}")
    return failed + (len(worse) if options.check else 0)


def write(program: Program, folder: pathlib.Path) -> None:
    """Compiles a program and writes its row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{program.name}.json").write_text(json.dumps(measure(program), indent=1) + "\n")


def measure(program: Program) -> dict:
    """The row of a program: figures of one device, bytes in GB (10^9); see `page`."""
    lowered = lower(program)
    started = time.perf_counter()
    compiled = lowered.compile(compiler_options=chips.COMPILER_OPTIONS[chips.CHIPS[program.chip].platform] or None)
    seconds, text, memory = time.perf_counter() - started, compiled.as_text(), compiled.memory_analysis()
    found = compiled_text.instructions(text)
    calls, operations = compiled_text.library_calls(found), flops(program)
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
    cycles = compiled_text.estimated_cycles(text)
    return {
        "program": program.name,
        "batch": program.batch,
        "arguments GB": memory.argument_size_in_bytes / 1e9,
        "temporaries GB": memory.temp_size_in_bytes / 1e9,
        "aliased GB": memory.alias_size_in_bytes / 1e9,
        "calls": sum(calls.values()),
        "calls by kind": calls,
        "fusions GB": compiled_text.written_bytes(found, "fusion") / 1e9,
        "copies GB": sum(compiled_text.written_bytes(found, kind) for kind in ("copy", "transpose")) / 1e9,
        "collectives": len(compiled_text.collectives(found)),
        "collectives MB": compiled_text.collective_bytes(found) / 1e6,
        "float64": compiled_text.in_float64(text),
        "callbacks": len(compiled_text.callbacks(found)),
        "Mcycles": cycles / 1e6 if cycles else None,
        "GFLOP": operations / 1e9 if operations else None,
        "bound ms": chips.bound_ms(program.chip, operations, moved) if operations else None,
        "compile s": seconds,
        "largest": [[name, size / 1e6, count] for name, size, count in compiled_text.largest(found, 12)],
        "versions": record.versions(
            ("libtpu",) if chips.CHIPS[program.chip].platform == "tpu" else ("jax-cuda12-plugin",)
        ),
    }


def worse_than(limits: dict[str, float], row: dict) -> list[str]:
    """A sentence for each figure of a row that is above its limit."""
    return [
        f"{row['program']}: {name} is {row[name]:.4g}; expected at most {limit:.4g}"
        for name, limit in limits.items()
        if row[name] is not None and row[name] > limit * SLACK
    ]


NOT_SHOWN = ("calls by kind", "largest", "versions")


def shown(row: dict) -> dict:
    """A row as the table shows it."""
    return {name: value for name, value in row.items() if name not in NOT_SHOWN}


def page(rows: list[dict]) -> str:
    """All rows as a Markdown table, then for each program the instructions that write most."""
    lines = [
        "# Programs compiled ahead of time",
        "",
        "**Nothing here was run, and no time is claimed.** XLA's compilers for these chips compiled ichjax's",
        "programs on a machine without them (`make accelerators`). Figures are of one device; a loop's body counts",
        "once. Calls are of cuDNN and cuBLAS. Fusions: bytes that XLA's own kernels write. Mcycles: the TPU compiler's",
        "estimate. Bound: the operations of convolutions and matrix products at the chip's peak rate (bfloat16), or",
        "arguments and results at its bandwidth, whichever takes longer; a program cannot be faster. Programs: the",
        "training step (`train`), that of several folds in one program (`folds`), the network on a batch (`network`),",
        "a scan of 40 slices of 512 x 512 from HU to probability (`scan`), with the inside of the skull (`skull`),",
        "thresholds, morphology and counts of a scan (`scores`); width 64, bfloat16, patches of 160 x 160 in",
        "training and of 128 x 128 in prediction, unless the name says otherwise. `NAME_full` is a network of the",
        "literature in its published size, on slices or stacks of its own (`configs/literature/NAME_full.py`).",
        "",
        record.markdown([shown(row) for row in rows]),
    ]
    for row in rows:
        lines += [
            "",
            f"## {row['program']}",
            "",
            "Library calls: " + (_by_kind(row["calls by kind"]) or "none") + ".",
            "",
        ]
        lines += ["| writes most | MB | instructions |", "|---|---|---|"]
        lines += [f"| {name} | {size:.1f} | {count} |" for name, size, count in row["largest"]]
        lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in row["versions"].items()) + "."]
    return "\n".join(lines) + "\n"


def _by_kind(calls: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in calls.items())


if __name__ == "__main__":
    sys.exit(main())
