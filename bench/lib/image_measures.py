"""The measures of disk images: the list of what must hold in docs/benchmarks.md, "Images"."""

import os
import random
import shutil
import subprocess

from lib import tree
from lib.bench import GIB, MIB, Case, need, say, wipe
from lib.measures import SEED, clock_tick, published
from lib.programs import Restic
from lib.report import Row, bytes_row, peak_row, time_row

IMAGE_BYTES = 2 * GIB
DATA_BYTES = 900 * 10**6
PAGE = 4096
CHILDREN = 20
NAME = "rootfs.ext4"
# What these measures hold at once: an image (data alone takes room), a copy that is changed, what is
# extracted, the stores, and the files that the image is made of.
ROOM = 8 * GIB


def files_of_this_machine():
    """Regular files of the system's packages, a share at random that holds DATA_BYTES."""
    found = []
    for root in ("/usr/bin", "/usr/lib", "/usr/share"):
        for _, entry in tree.entries_of(root):
            if entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                if 0 < size < 32 * MIB:
                    found.append((entry.path, size))
    need(sum(size for _, size in found) >= DATA_BYTES, "this machine has too few packages installed")
    random.Random(SEED).shuffle(found)
    total = 0
    for path, size in found:
        if total >= DATA_BYTES:
            return
        if os.access(path, os.R_OK):
            total += size
            yield path


def make_image(plan, folder):
    """An ext4 root filesystem, as users have it: full of files of packages."""
    mke2fs = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    need(mke2fs, "mke2fs is missing (e2fsprogs)")
    say("making an image")
    source = plan.bench.place("files")
    for path in files_of_this_machine():
        target = source / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    folder.mkdir()
    image = folder / NAME
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run([mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-d", str(source), str(image)], check=True)
    wipe(source)
    return image


class Zstd:
    """One file, as people keep images."""

    def __init__(self, bench, name):
        self._bench = bench
        self.archive = bench.place(name)

    def save(self, path):
        return self._bench.run(["zstd", "-3", "-T0", "-q", "-f", path, "-o", self.archive])

    def extract(self, path):
        return self._bench.run(["zstd", "-d", "--sparse", "-q", "-f", self.archive, "-o", path])

    def stored_bytes(self):
        return self.archive.stat().st_size


def extracting(plan, name, extract, image, more=1.02):
    target = plan.bench.work / f"extracted by {name}"
    return Case(name, run=lambda: extract(target), check=lambda _: tree.compare_sparse(image, target, more),
                after=lambda: wipe(target))


def measure_image(plan):
    """1: an image's first save, and the whole of it brought back."""
    bench, report = plan.bench, plan.report
    folder = bench.place("image")
    image = make_image(plan, folder)
    thaw, zstd, restic = plan.thaw(), Zstd(bench, "image.zst"), Restic(bench, "restic")
    samples = bench.interleaved(
        "image: first save", Case("thaw", lambda: published(thaw.save("vm", folder)), before=thaw.reset),
        Case("zstd", lambda: zstd.save(image)))
    saves, by_zstd = samples
    new_bytes = saves.outcomes[-1].json()["new_bytes"]
    report.keep("image: first save", samples, new_bytes=new_bytes, zstd_bytes=zstd.stored_bytes())
    report.add(time_row(1, "image of 2 GiB: save, to zstd -3 -T0", saves, by_zstd, limit=0.75),
               bytes_row(1, "image: its frames, to that file", ("thaw", new_bytes),
                         ("zstd", zstd.stored_bytes()), limit=1.10),
               peak_row("image: save", saves))

    restic.save(folder)
    restored = bench.work / "restored by restic"
    samples = bench.interleaved(
        "image: extract",
        extracting(plan, "thaw", lambda to: thaw.extract("vm", NAME, to), image),
        extracting(plan, "zstd", zstd.extract, image),
        Case("restic", lambda: restic.restore(restored), before=restored.mkdir,
             after=lambda: wipe(restored)))
    ours, by_zstd, by_restic = samples
    report.keep("image: extract", samples)
    report.add(time_row(1, "image: extract, to zstd -d --sparse", ours, by_zstd, limit=0.95, aim=0.75),
               time_row(1, "image: extract, to restic restore", ours, by_restic, limit=0.3),
               peak_row("image: extract", ours))


def change_pages(image, generator, pages):
    """Other pages of the image over 1% of all, chosen at random; answers what was written."""
    written = bytearray()
    with open(image, "r+b", buffering=0) as file:
        for number in sorted(generator.sample(range(IMAGE_BYTES // PAGE), IMAGE_BYTES // PAGE // 100)):
            page = generator.choice(pages)
            file.seek(number * PAGE)
            file.write(page)
            written += page
    return bytes(written)


def some_pages(image, generator, count=20_000):
    """Pages with data."""
    pages = []
    with open(image, "rb", buffering=0) as file:
        while len(pages) < count:
            file.seek(generator.randrange(IMAGE_BYTES // PAGE) * PAGE)
            page = file.read(PAGE)
            if any(page):
                pages.append(page)
    return pages


def measure_children(plan):
    """2: a chain of children, each with 1% of the pages changed at random."""
    bench, report, thaw = plan.bench, plan.report, plan.thaw()
    folder = bench.place("image")
    image = make_image(plan, folder)
    generator = random.Random(SEED)
    pages = some_pages(image, generator)
    clock_tick()
    published(thaw.save("vm", folder))
    first = bench.place("first")
    subprocess.run(["cp", "--sparse=always", "--", str(image), str(first)], check=True)
    ratios, seconds, changed_bytes, new_bytes, peaks = [], [], 0, 0, []
    for child in range(1, CHILDREN + 1):
        written = change_pages(image, generator, pages)
        compressed = len(subprocess.run(["zstd", "-3", "-q", "-c"], input=written,
                                        stdout=subprocess.PIPE, check=True).stdout)
        clock_tick()
        outcome = published(thaw.save("vm", folder))
        changed_bytes += compressed
        new_bytes += outcome.json()["new_bytes"]
        ratios.append(outcome.json()["new_bytes"] / compressed)
        seconds.append(outcome.seconds)
        peaks.append(outcome.peak_bytes)
        say(f"child {child}/{CHILDREN}: {outcome.seconds:.2f} s, {ratios[-1]:.2f}x")
    report.keep("children", ratios=ratios, seconds=seconds)
    report.add(Row(2, "child with 1% of pages changed: new frames to changed bytes, the first",
                   ratios[0], limit=1.3),
               Row(2, f"… average of {CHILDREN} in a chain", new_bytes / changed_bytes, limit=2.0,
                   detail=f"the last {ratios[-1]:.2f}x"),
               Row(2, "peak memory: saving a child", max(peaks), limit=256 * MIB, aim=128 * MIB, unit="B"))
    samples = bench.interleaved(
        "children: extract",
        # Pages here and there in a hole: what lies between them, if it is short, is stored as zeros.
        extracting(plan, "last", lambda to: thaw.extract(f"vm@{CHILDREN + 1}", NAME, to), image, more=1.2),
        extracting(plan, "first", lambda to: thaw.extract("vm@1", NAME, to), first))
    last, alone = samples
    report.keep("children: extract", samples)
    report.add(time_row(2, f"extract of child {CHILDREN}, to the first image's", last, alone, limit=1.5))
    wipe(first)


IMAGE_MEASURES = {"image": measure_image, "children": measure_children}
