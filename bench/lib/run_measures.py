"""The measures of `thaw run`: what it adds to the start of a command."""

import json
import socket

from lib.bench import Case, need
from lib.report import Row

STARTS = 50
DISABLED_MS = 20
LATE_MS = 500
RESTORE_TIMEOUT_MS = 1000


def median_ms(sample):
    return sample.median * 1000


def measure_disabled(plan):
    """Nothing is named to restore from: 50 interleaved starts, with and without."""
    bench = plan.bench
    place = bench.place("path")
    plain = Case("true", run=lambda: bench.run(["true"]))
    wrapped = Case("thaw run -- true", run=lambda: bench.run(
        [plan.binary, "run", "--key", "k", "--path", place, "--ready-exit", "--", "true"]))
    runs, bench.runs = bench.runs, STARTS
    try:
        ours, theirs = bench.interleaved("run disabled", wrapped, plain)
    finally:
        bench.runs = runs
    plan.report.keep("run disabled", [ours, theirs])
    added = median_ms(ours) - median_ms(theirs)
    plan.report.add(Row(8, "run: a disabled start, added", added, limit=DISABLED_MS, unit="ms",
                        detail=f"median of {STARTS}: {median_ms(ours):.1f} ms; {median_ms(theirs):.1f} ms"))


def measure_silent(plan):
    """A store that takes connections and says nothing: how late COMMAND is."""
    bench = plan.bench
    place, events = bench.place("path"), bench.place("events")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1024)
        store = f"s3://bucket/p?endpoint=http://127.0.0.1:{server.getsockname()[1]}&anonymous=true"
        words = [plan.binary, "--store", store, "run", "--key", "k", "--path", place, "--restore-timeout",
                 f"{RESTORE_TIMEOUT_MS}ms", "--events", events, "--", "true"]
        (sample,) = bench.interleaved("run silent", Case("a silent store", run=lambda: bench.run(words)))
    with open(events, encoding="utf-8") as lines:
        told = [json.loads(line) for line in lines]
    started = [each["at_ms"] for each in told if each["event"] == "started"]
    need(all(not each["ok"] for each in told if each["event"] == "restore"), "it restored")
    plan.report.keep("run silent", [sample])
    plan.report.add(Row(8, "run: a silent store, COMMAND's start beyond --restore-timeout",
                        max(started) - RESTORE_TIMEOUT_MS, limit=LATE_MS, unit="ms",
                        detail=f"largest of {len(started)}"))


RUN_MEASURES = {"run_disabled": measure_disabled, "run_silent": measure_silent}
