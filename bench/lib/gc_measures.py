"""The measures of the collector: synthetic stores, one ten times as large as the other."""

import json
import os
import sys
from pathlib import Path

from lib.bench import MIB, Case, need, say, wipe
from lib.report import Row, time_row

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))
from store_format import entry_path, sealed  # noqa: E402

PACKS_EACH = 10  # of a snapshot
GENERATIONS = 10  # of a key
MANY = 10_000


def make_store(root, snapshots):
    """Every second generation is removed, so half of the packs are garbage."""
    (root / "manifests").mkdir(parents=True)
    for folder in range(256):
        (root / "packs" / f"{folder:02x}").mkdir(parents=True)
    (root / "thaw.json").write_text('{"kind":"thaw-store","format":1}\n')
    for number in range(snapshots):
        packs = [os.urandom(16).hex() for _ in range(PACKS_EACH)]
        for pack in packs:
            (root / "packs" / pack[:2] / pack).write_bytes(b"p" * 64)
        manifest = os.urandom(16).hex()
        (root / "manifests" / manifest).write_bytes(b"m" * 64)
        key, generation = f"site/{number // GENERATIONS:05}", number % GENERATIONS + 1
        path = Path(entry_path(str(root), key, generation))
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"type": "tombstone", "key": key, "generation": generation, "created_ns": 1}
        if number % 2:
            record |= {"type": "entry", "snapshot": "0" * 64, "content": "0" * 64,
                       "manifest": {"id": manifest, "size": 64, "sha256": "0" * 64},
                       "nonce": os.urandom(16).hex(), "files": 1, "dirs": 1, "others": 0, "bytes": 1,
                       "stored_bytes": 1, "labels": {}, "host": "h", "tool": "t",
                       "packs": [[pack, 64] for pack in packs]}
        path.write_bytes(sealed(b"thawen01", record))


def measure_gc(plan):
    """5 of the collector: a plan over 10,000 snapshots and 100,000 packs, and over a tenth of it."""
    bench = plan.bench
    stores = {}
    for snapshots in (MANY, MANY // 10):
        stores[snapshots] = bench.place(f"store of {snapshots}")
        say(f"making a store of {snapshots} snapshots")
        make_store(stores[snapshots], snapshots)

    def case(snapshots):
        def check(outcome):
            answer = json.loads(outcome.stdout)
            need(answer["generations"] == snapshots // 2 and
                 answer["condemn"]["objects"] == snapshots // 2 * (PACKS_EACH + 1), "the plan is wrong")
        return Case(f"{snapshots} snapshots", check=check, run=lambda: bench.run(
            [plan.binary, "--json", "--store", stores[snapshots], "gc", "--grace", "1ms"]))
    large, small = bench.interleaved("gc", case(MANY), case(MANY // 10))
    plan.report.keep("gc", [large, small])
    plan.report.add(time_row(5, "gc: plan, ten times as much", large, small, limit=12),
                    Row(5, "gc: peak memory", large.peak_bytes, limit=512 * MIB, unit="B"))
    for place in stores.values():
        wipe(place)


GC_MEASURES = {"gc": measure_gc}
