"""The measures of goldens: clones against cp -a, in tmpfs and in files with XFS and btrfs."""

import contextlib
import json
import os
import shutil
import subprocess

from lib import tree
from lib.bench import MIB, Case, need, say, wipe
from lib.report import Row, time_row

FEW = 10
BYTES_EACH = 100  # of memory, for each file of the tree


def two_workers(source, target):
    """`cp -a --reflink=always` as two workers over the top directories, which is what people write."""
    script = ("mkdir \"$2\" && cd \"$1\" && find . -mindepth 1 -maxdepth 1 -print0 | "
              "xargs -0 -P 2 -n 8 cp -a --reflink=always -t \"$2\"")
    return ["sh", "-c", script, "sh", source, target]


class Goldens:
    """A golden root with the whole tree (`all`) and one of a few files (`few`)."""

    def __init__(self, plan, place):
        self.plan, self.place = plan, place
        self.state = {**os.environ, "THAW_GOLDEN_ROOT": str(place / "golden")}
        place.mkdir(exist_ok=True)
        tree.copy(plan.tree, place / "all")
        (place / "few").mkdir()
        for number in range(FEW):
            (place / "few" / f"file{number}").write_bytes(b"x" * 1000)
        for name in ("few", "all"):
            self.thaw("promote", name, place / name)
        self.facts = tree.facts_of(self.tree("all"))

    def tree(self, name):
        return self.place / "golden" / name / "1" / "tree"

    def thaw(self, *words):
        done = subprocess.run([self.plan.binary, "--json", "golden", *map(str, words)], env=self.state,
                              stdout=subprocess.PIPE, check=False)
        answer = json.loads(done.stdout)
        need(answer["ok"], f"golden {words[0]}: {answer.get('message')}")
        return answer

    def clone(self, name, method, *more, target=None):
        target = target or self.place / "clone"

        def check(outcome):
            answer = json.loads(outcome.stdout)
            need(answer["method"] == method, f"{answer['method']} in place of {method}: {answer.get('fallback')}")
        return Case(f"{method} of {name}", check=check, after=lambda: self.thaw("unclone", target),
                    run=lambda: self.plan.bench.run([self.plan.binary, "--json", "golden", "clone", name,
                                                     target, *more], env=self.state))

    def other(self, title, command):
        target = self.place / "other"
        return Case(title, after=lambda: wipe(target),
                    run=lambda: self.plan.bench.run(command(self.tree("all"), target), env=self.state))


@contextlib.contextmanager
def in_a_file(kind, file, mount_point, size_bytes):
    with open(file, "wb") as image:
        image.truncate(size_bytes)
    maker = shutil.which(f"mkfs.{kind}", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    need(maker, f"no mkfs.{kind}")
    mount_point.mkdir()
    subprocess.run([maker, "-q", str(file)], check=True)
    subprocess.run(["mount", "-o", "loop", str(file), str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


def measure_golden(plan):
    """1 and 5 of goldens: copies and overlays in tmpfs."""
    goldens = Goldens(plan, plan.bench.place("goldens"))
    ours, cp, few = plan.bench.interleaved(
        "golden copies", goldens.clone("all", "copy"), goldens.other("cp -a", lambda a, b: ["cp", "-a", a, b]),
        goldens.clone("few", "copy"))
    grown = max(0, ours.peak_bytes - few.peak_bytes)
    plan.report.keep("golden copies", [ours, cp, few])
    plan.report.add(time_row(1, "golden: parallel copy in tmpfs", ours, cp, limit=0.5),
                    Row(5, "golden: memory for each file", grown / goldens.facts.files, limit=BYTES_EACH, unit="B"))
    if os.geteuid() == 0:
        all_of_it, little = plan.bench.interleaved(
            "golden overlays", goldens.clone("all", "overlay", "--overlay"),
            goldens.clone("few", "overlay", "--overlay"))
        plan.report.keep("golden overlays", [all_of_it, little])
        plan.report.add(time_row(1, "golden: overlay of all and of ten files", all_of_it, little, limit=1.5),
                        time_row(1, "golden: overlay and copy", all_of_it, ours, limit=0.02))
    wipe(goldens.place)


def measure_golden_reflinks(plan):
    """1 of goldens: reflinks in an XFS file, against two workers of cp."""
    if os.geteuid() != 0:
        say("golden reflinks: not root, so nothing can be mounted")
        return
    place = plan.bench.place("xfs")
    place.mkdir()
    size = max(1024 * MIB, 4 * tree.facts_of(plan.tree).allocated_bytes)
    with in_a_file("xfs", place / "image", place / "mount", size) as mounted:
        goldens = Goldens(plan, mounted)
        ours, workers = plan.bench.interleaved(
            "golden reflinks", goldens.clone("all", "reflink"), goldens.other("two cp --reflink", two_workers))
        plan.report.keep("golden reflinks", [ours, workers])
        plan.report.add(time_row(1, "golden: reflinks in XFS", ours, workers, limit=0.85))
    wipe(place)


def measure_golden_snapshots(plan):
    """1 of goldens: snapshots in a btrfs file, of all and of few, and against the parallel copy."""
    if os.geteuid() != 0:
        say("golden snapshots: not root, so nothing can be mounted")
        return
    place = plan.bench.place("btrfs")
    place.mkdir()
    size = max(1024 * MIB, 4 * tree.facts_of(plan.tree).allocated_bytes)
    with in_a_file("btrfs", place / "image", place / "mount", size) as mounted:
        goldens = Goldens(plan, mounted)
        all_of_it, few, copy = plan.bench.interleaved(
            "golden snapshots", goldens.clone("all", "snapshot"), goldens.clone("few", "snapshot"),
            goldens.clone("all", "copy", target=place / "copy"))
        plan.report.keep("golden snapshots", [all_of_it, few, copy])
        plan.report.add(time_row(1, "golden: btrfs snapshot of all and of ten files", all_of_it, few, limit=1.5),
                        time_row(1, "golden: btrfs snapshot, to the parallel copy into tmpfs", all_of_it, copy,
                                 limit=0.02))
    wipe(place)


GOLDEN_MEASURES = {"golden": measure_golden, "golden_reflinks": measure_golden_reflinks,
                   "golden_snapshots": measure_golden_snapshots}
