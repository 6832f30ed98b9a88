"""What was measured, as a table, as Markdown and as JSON."""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from lib.bench import GIB, MIB, filesystem_of


@dataclasses.dataclass
class Row:
    """One line of the result. `item` is the number in the list of what must hold, 0 for none."""

    item: int
    what: str
    measured: float
    limit: float = None  # None: for information
    aim: float = None    # where it should end up one day
    unit: str = "x"      # a ratio; or "B", a number of bytes; or "ms"
    detail: str = ""

    @property
    def verdict(self):
        if self.limit is None:
            return ""
        return "pass" if self.measured <= self.limit else "FAIL"

    def cells(self):
        return [str(self.item or ""), self.what, self._shown(self.measured), self._shown(self.limit),
                self._shown(self.aim), self.verdict, self.detail]

    def _shown(self, value):
        if value is None:
            return ""
        if self.unit == "ms":
            return f"{value:.1f} ms"
        if self.unit == "B":
            return f"{value / MIB:.0f} MiB" if value >= MIB else f"{value / 1024:.1f} KiB"
        return f"{value:.3f}x" if value < 0.1 else f"{value:.2f}x"


def seconds_text(sample):
    return (f"{sample.name} {sample.median:.2f} s "
            f"({min(sample.seconds):.2f}–{max(sample.seconds):.2f})")


def time_row(item, what, ours, theirs, **more):
    """A ratio of medians."""
    return Row(item, what, ours.median / theirs.median,
               detail=f"{seconds_text(ours)}; {seconds_text(theirs)}", **more)


def bytes_row(item, what, ours, theirs, **more):
    """A ratio of two (name, bytes)."""
    detail = "; ".join(f"{name} {size / MIB:.1f} MiB" for name, size in (ours, theirs))
    return Row(item, what, ours[1] / theirs[1], detail=detail, **more)


def peak_row(what, *samples, limit=256 * MIB, aim=128 * MIB):
    """The most memory that one process had in any of the measured runs."""
    return Row(5, f"peak memory: {what}", max(sample.peak_bytes for sample in samples),
               limit=limit, aim=aim, unit="B")


class Report:
    HEAD = ["#", "what", "measured", "limit", "aim", "", "medians (min–max)"]

    def __init__(self, machine):
        self._machine = machine
        self._rows = []
        self._samples = {}
        self._values = {}

    def add(self, *rows):
        self._rows += rows

    def keep(self, title, samples=(), **values):
        """Raw numbers for the JSON file."""
        if samples:
            self._samples[title] = {sample.name: sample.raw() for sample in samples}
        if values:
            self._values.setdefault(title, {}).update(values)

    @property
    def failed(self):
        return sum(row.verdict == "FAIL" for row in self._rows)

    def text(self):
        table = [self.HEAD] + [row.cells() for row in self._sorted()]
        # The last column is left ragged.
        widths = [max(len(line[column]) for line in table) for column in range(len(self.HEAD) - 1)]
        lines = [f"{name}: {value}" for name, value in self._machine.items()] + [""]
        for line in table:
            padded = [cell.ljust(width) for cell, width in zip(line, widths)]
            lines.append("  ".join(padded + line[-1:]).rstrip())
        return "\n".join(lines + ["", self._summary()])

    def markdown(self):
        lines = [f"- {name}: {value}" for name, value in self._machine.items()]
        lines += ["", "| " + " | ".join(self.HEAD) + " |", "|---" * len(self.HEAD) + "|"]
        for row in self._sorted():
            cells = row.cells()
            if row.verdict == "FAIL":
                cells[5] = "**FAIL**"
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines + ["", self._summary()])

    def json(self):
        rows = [dataclasses.asdict(row) | {"verdict": row.verdict} for row in self._sorted()]
        return json.dumps({"machine": self._machine, "rows": rows, "samples": self._samples,
                           "values": self._values}, indent=2) + "\n"

    def _sorted(self):
        return sorted(self._rows, key=lambda row: row.item or 99)

    def _summary(self):
        judged = [row for row in self._rows if row.limit is not None]
        return f"{len(judged) - self.failed} of {len(judged)} limits hold"


def machine_facts(work, binary, tree_text):
    """What a reader needs to know to compare: no names of hosts or places."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    facts = {"CPU": f"{model}, {len(os.sched_getaffinity(0))} cores",
             "memory": f"{memory / GIB:.1f} GiB",
             "kernel": f"{platform.system()} {platform.release()}",
             "file system": filesystem_of(work),
             "thaw": _first_line([binary, "--version"])}
    versions = [_first_line(words) for words in (
        ["tar", "--version"], ["zstd", "--version"], ["restic", "version"], ["borg", "--version"],
        ["casync", "--version"]) if shutil.which(words[0])]
    facts["peers"] = "; ".join(versions) + ("; borg with its default lz4, not encrypted; restic as "
                                            "it comes")
    facts["tree"] = tree_text
    return facts


def _first_line(words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=True)
    line = done.stdout.splitlines()[0].strip(" *")
    # casync names itself not at all.
    name = Path(words[0]).name
    return line if name in line.lower() else f"{name} {line}"
