"""Reads the text of a compiled XLA program: what it calls, writes, copies and communicates."""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
CALLBACKS = ("callback", "xla_ffi_python")  # in the targets of calls that go back to the host
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.$-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.$-]+) = (.*?)\s?([a-z][\w-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|comparator|select|scatter)=%?([\w.$-]+)")


class Instruction(NamedTuple):
    """One instruction that runs on its own: outside of fusions and reducers.

    Attributes:
      name: in the program.
      kind: 'fusion', 'custom-call', 'copy', ...
      shapes: of its results, as (type, dimensions).
      rest: its operands and attributes, as text.
    """

    name: str
    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    rest: str

    @property
    def bytes(self) -> int:
        """Of its results."""
        return int(sum(size_of(dtype) * math.prod(dimensions) for dtype, dimensions in self.shapes))

    @property
    def source(self) -> str:
        """The operation of the traced program that it comes from, such as 'up1/stack'; '' if unknown."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return "/".join(found[1].split("/")[-2:]) if found else ""

    @property
    def target(self) -> str:
        """What a custom call calls; '' for other instructions."""
        found = re.search(r'custom_call_target="([^"]+)"', self.rest)
        return found[1] if found else ""


def size_of(dtype: str) -> float:
    """Bytes of one element; 0 for a token or an opaque value."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else float(dtype == "pred")


def instructions(text: str) -> list[Instruction]:
    """All instructions that run on their own: those of the entry and of the bodies of loops and branches.

    A loop's body counts once, however often it runs.
    """
    bodies, inner = _computations(text)
    return [one for name, body in bodies.items() if name not in inner for one in body]


def _computations(text: str) -> tuple[dict[str, list[Instruction]], set[str]]:
    """({computation: its instructions}, the computations inside of fusions, reductions and sorts)."""
    bodies: dict[str, list[Instruction]] = {}
    inner: set[str] = set()
    body: list[Instruction] = []
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            body = bodies.setdefault(found[2], [])
        elif found := _INSTRUCTION.match(line):
            name, shapes, kind, rest = found.groups()
            arrays = tuple(
                (dtype, tuple(map(int, filter(None, sizes.split(","))))) for dtype, sizes in _ARRAY.findall(shapes)
            )
            body.append(Instruction(name, kind, arrays, rest))
            if kind != "call" and not kind.startswith("async"):
                inner.update(_CALLED.findall(rest))
    return bodies, inner


def library_calls(program: list[Instruction]) -> dict[str, int]:
    """How often each library function is called, by its target's last part: {'convForward': 18, ...}."""
    targets = [one.target.split("$")[-1] for one in program if one.target.startswith("__")]
    return dict(sorted(collections.Counter(targets).items()))


def written_bytes(program: list[Instruction], kind: str) -> int:
    """Bytes of the results of all instructions of a kind."""
    return sum(one.bytes for one in program if one.kind == kind)


def collectives(program: list[Instruction]) -> list[Instruction]:
    """The instructions that communicate; of an asynchronous pair, its start."""
    return [one for one in program if one.kind.removesuffix("-start") in COLLECTIVES]


def collective_bytes(program: list[Instruction]) -> int:
    """Bytes that are communicated: those of the results, of a pair's start a half, since it has its operands, too."""
    return sum(one.bytes // (2 if one.kind.endswith("-start") else 1) for one in collectives(program))


def callbacks(program: list[Instruction]) -> list[str]:
    """Targets of calls that go back to the host in the middle of the program."""
    return [one.target for one in program if any(word in one.target for word in CALLBACKS)]


def in_float64(text: str) -> int:
    """Number of operations in float64, those inside of fusions included."""
    return sum(
        any(dtype in ("f64", "c128") for dtype, _ in one.shapes)
        for body in _computations(text)[0].values()
        for one in body
    )


def estimated_cycles(text: str) -> int:
    """The TPU compiler's own estimate, all loop bodies once; 0 on other platforms."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', text)))


def largest(program: list[Instruction], count: int) -> Iterator[tuple[str, int, int]]:
    """(kind and source, bytes, number of instructions) of what writes most, summed by source; no parameters."""
    total, number = collections.Counter[str](), collections.Counter[str]()
    for one in program:
        if one.kind in (
            "parameter",
            "tuple",
            "get-tuple-element",
            "constant",
            "bitcast",
            "while",
            "conditional",
            "call",
        ):
            continue
        name = f"{one.target.split('$')[-1] or one.kind} {one.source}".strip()
        total[name] += one.bytes
        number[name] += 1
    return ((name, size, number[name]) for name, size in total.most_common(count))
