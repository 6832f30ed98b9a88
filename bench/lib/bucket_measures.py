"""The measures of a store in a bucket: the list of what must hold in docs/benchmarks.md, "In a
bucket"."""

import os

from lib.bench import MIB, Case, need, say, wipe
from lib.bucket import BucketTar, BucketThaw, Server
from lib.measures import clock_tick, published, unchanged
from lib.report import Row, peak_row, time_row

# Of requests, and for how long, in the measure of stalls.
STALLED_SHARE = 0.005
STALL_S = 5
STALL_RESTORES = int(os.environ.get("THAW_BENCH_RESTORES", "1000"))
SMALL_FILES = 10


def measure_bucket(plan):
    """Restore, first save and unchanged save on loopback; the requests of a small restore."""
    bench, report = plan.bench, plan.report
    with Server(bench) as server:
        thaw = BucketThaw(bench, "s3-thaw", plan.binary, server)
        tar = BucketTar(bench, "s3-tar", server)
        tgz = BucketTar(bench, "s3-tgz", server, gzip=True)
        published(thaw.save("tree", plan.tree))
        tar.save(plan.tree)
        tgz.save(plan.tree)
        ours = plan.restoring("thaw", lambda target: thaw.restore("tree", target))
        ours.before = thaw.forget
        samples = bench.interleaved(
            "bucket: restore", ours, plan.restoring("aws|zstd|tar", tar.restore, made_by=tar),
            plan.restoring("aws|tar -xz", tgz.restore, made_by=tgz))
        by_thaw, by_tar, by_tgz = samples
        report.keep("bucket: restore", samples)
        report.add(time_row(1, "bucket: restore, to aws s3 cp | zstd -dc | tar -x", by_thaw, by_tar,
                            limit=0.5),
                   time_row(1, "bucket: restore, to aws s3 cp | tar -xz", by_thaw, by_tgz, limit=0.2),
                   peak_row("bucket: restore", by_thaw))

        samples = bench.interleaved(
            "bucket: first save",
            Case("thaw", lambda: published(thaw.save("tree", plan.tree)), before=thaw.reset),
            Case("tar|zstd|aws", lambda: tar.save(plan.tree)))
        by_thaw, by_tar = samples
        report.keep("bucket: first save", samples)
        report.add(time_row(2, "bucket: first save, to tar | zstd -3 -T0 | aws s3 cp", by_thaw, by_tar,
                            limit=0.6),
                   peak_row("bucket: first save", by_thaw))
        measure_unchanged(plan, thaw)
        measure_small(plan, thaw)


def measure_unchanged(plan, thaw):
    embedded = plan.thaw("embedded")
    clock_tick()
    thaw.save("unchanged", plan.tree)
    embedded.save("unchanged", plan.tree)
    samples = plan.bench.interleaved(
        "bucket: unchanged save",
        Case("bucket", lambda: unchanged(thaw.save("unchanged", plan.tree))),
        Case("embedded", lambda: unchanged(embedded.save("unchanged", plan.tree))))
    there, here = samples
    plan.report.keep("bucket: unchanged save", samples)
    plan.report.add(Row(2, "bucket: unchanged save, seconds beyond the embedded store's",
                        there.median - here.median, limit=0.5,
                        detail=f"bucket {there.median:.2f} s; embedded {here.median:.2f} s"))


def measure_small(plan, thaw):
    """4: the requests of a warm restore of ten files."""
    source, target = plan.bench.place("small"), plan.bench.place("small-restored")
    source.mkdir()
    for number in range(SMALL_FILES):
        (source / f"file{number}").write_bytes(bytes([number]) * 5000)
    published(thaw.save("small", source))
    requests = thaw.restore("small", target).json()["requests"]
    plan.report.add(Row(4, f"bucket: requests of a restore of {SMALL_FILES} files", requests, limit=3))
    wipe(source)
    wipe(target)


def measure_slow_link(plan):
    """3: 30 ms to each first byte, 40 MB/s a connection; then stalls."""
    bench, report = plan.bench, plan.report
    with Server(bench) as server, server.shaped("--latency-ms", 30, "--rate-mb", 40) as slow:
        thaw = BucketThaw(bench, "s3-thaw", plan.binary, server)
        tar = BucketTar(bench, "s3-tar", server)
        published(thaw.save("tree", plan.tree))
        tar.save(plan.tree)
        far = thaw.through(slow)
        ours = plan.restoring("thaw", lambda target: far.restore("tree", target))
        ours.before = far.forget
        samples = bench.interleaved(
            "slow link: restore", ours,
            plan.restoring("aws|zstd|tar", lambda target: tar.restore(target, slow), made_by=tar))
        by_thaw, by_tar = samples
        report.keep("slow link: restore", samples)
        report.add(time_row(3, "30 ms, 40 MB/s: restore, to aws s3 cp | zstd -dc | tar -x", by_thaw,
                            by_tar, limit=0.5))
        measure_stalls(plan, server, thaw)


def measure_stalls(plan, server, thaw):
    source = plan.bench.place("sixteen")
    source.mkdir()
    with open("/dev/urandom", "rb") as noise:
        for number in range(16):
            (source / f"file{number}").write_bytes(noise.read(MIB))
    published(thaw.save("sixteen", source))
    shape = ["--latency-ms", 30, "--rate-mb", 40]
    faults = ["--fault", f"slow_first_byte={STALLED_SHARE}", "--stall-s", STALL_S, "--seed", 7]
    tails = {}
    for name, options in (("without stalls", []), ("with stalls", faults)):
        with server.shaped(*shape, *options) as endpoint:
            tails[name] = tail_of(plan, thaw.through(endpoint), name)
    plan.report.keep("stalls", **{name.replace(" ", "_"): times for name, times in tails.items()})
    calm, stalled = (percentile(tails[name], 0.99) for name in ("without stalls", "with stalls"))
    plan.report.add(Row(3, f"p99 of {STALL_RESTORES} restores of 16 MiB, {STALLED_SHARE:.1%} of requests "
                        f"stalled for {STALL_S} s, to the p99 without", stalled / calm, limit=2.0,
                        detail=f"with {stalled:.3f} s (worst {max(tails['with stalls']):.3f}); "
                               f"without {calm:.3f} s (worst {max(tails['without stalls']):.3f})"))
    wipe(source)


def tail_of(plan, thaw, name):
    times = []
    for number in range(STALL_RESTORES):
        target = plan.bench.place("sixteen-restored")
        times.append(thaw.restore("sixteen", target).seconds)
        if (number + 1) % 100 == 0:
            say(f"stalls: {name}: {number + 1}/{STALL_RESTORES}")
        wipe(target)
    need(len(times) == STALL_RESTORES, "restores are missing")
    return times


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


BUCKET_MEASURES = {"bucket": measure_bucket, "slow-link": measure_slow_link}
