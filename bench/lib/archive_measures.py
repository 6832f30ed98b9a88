"""The measures of the archive lane: today's tar objects in a bucket, by thaw and by what people use,
and the memory that a large one takes."""

import os

from lib.bench import GIB, MIB, Case, need, wipe
from lib.bucket import BucketTar, BucketThaw, Server
from lib.measures import published
from lib.report import Row, peak_row, time_row

# Of the archive whose memory is measured: half of it noise, half what compresses away.
LARGE_GIB = int(os.environ.get("THAW_BENCH_ARCHIVE_GIB", "10"))
LARGE_LIMIT = 256 * MIB


class BucketArchive:
    """`thaw archive` on objects of the bucket."""

    def __init__(self, thaw, server):
        self._thaw = thaw
        self._server = server

    def url(self, name):
        return f"s3://{self._server.bucket}/{name}?endpoint={self._server.endpoint}"

    def _run(self, *words):
        return self._thaw.bench.run([self._thaw.binary, "--json", "archive", *words],
                                    env=self._thaw.environment)

    def put(self, path, name, *options):
        return published(self._run("put", path, self.url(name), *options))

    def get(self, name, path):
        return self._run("get", self.url(name), path)


def measure_archive(plan):
    """Put and get of the tree as tgz and as tar.zst, to tar, a compressor and the AWS command line."""
    bench, report = plan.bench, plan.report
    with Server(bench) as server:
        ours = BucketArchive(BucketThaw(bench, "s3-archive", plan.binary, server), server)
        for number, name, gzip, put_limit, get_limit in ((1, "tgz", True, 0.5, 0.8),
                                                         (2, "tar.zst", False, None, 0.7)):
            theirs = BucketTar(bench, f"s3-{name}", server, gzip=gzip)
            packer = "tar -cz" if gzip else "tar | zstd -3 -T0"
            samples = bench.interleaved(
                f"archive: put {name}", Case("thaw", lambda name=name: ours.put(plan.tree, f"a.{name}")),
                Case("tar|aws", lambda theirs=theirs: theirs.save(plan.tree)))
            report.keep(f"archive: put {name}", samples)
            report.add(time_row(number, f"archive: put {name}, to {packer} | aws s3 cp", *samples,
                                limit=put_limit or 1.0),
                       peak_row(f"archive: put {name}", samples[0]))
            # Both read the object that thaw has put.
            theirs.read_object(f"a.{name}")
            unpacker = "tar -xz" if gzip else "zstd -dc | tar -x"
            samples = bench.interleaved(
                f"archive: get {name}",
                plan.restoring("thaw", lambda target, name=name: ours.get(f"a.{name}", target)),
                plan.restoring("aws|tar", theirs.restore, made_by=theirs))
            report.keep(f"archive: get {name}", samples)
            report.add(time_row(number, f"archive: get {name}, to aws s3 cp | {unpacker}", *samples,
                                limit=get_limit),
                       peak_row(f"archive: get {name}", samples[0]))


def measure_large_archive(plan):
    """Memory of a put and a get of LARGE_GIB in one archive, in files of 256 MiB."""
    bench = plan.bench
    source, target = bench.place("large-source"), bench.place("large-target")
    source.mkdir()
    archive = bench.place("large.tar.zst")
    with open("/dev/urandom", "rb") as noise:
        piece = noise.read(4 * MIB)
    for number in range(LARGE_GIB * 4):
        with open(source / f"file{number}", "wb") as file:
            for block in range(32):
                # Not the same anywhere, and no time to make.
                file.write((number * 32 + block).to_bytes(8, "little") + piece[8:])
                file.write(bytes(4 * MIB))
    state = bench.place("large-archive")
    state.mkdir()
    environment = bench.environment(state)
    put = bench.run([plan.binary, "--json", "archive", "put", source, archive], env=environment)
    need(put.json()["bytes"] >= LARGE_GIB * GIB, "the large tree is not as large as it should be")
    wipe(source)
    got = bench.run([plan.binary, "--json", "archive", "get", archive, target], env=environment)
    need(got.json()["bytes"] == put.json()["bytes"], "not all of it came back")
    for what, outcome in (("put", put), ("get", got)):
        plan.report.add(Row(3, f"archive: peak memory of a {what} of {LARGE_GIB} GiB", outcome.peak_bytes,
                            limit=LARGE_LIMIT, unit="B", detail=f"{outcome.seconds:.1f} s"))
    wipe(target)


ARCHIVE_MEASURES = {"archive": measure_archive, "large-archive": measure_large_archive}
