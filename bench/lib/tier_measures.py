"""The measures of reads through tiers: the list of what must hold in docs/benchmarks.md, "Tiers"."""

import json
import random
import re
import subprocess

from lib.bench import MIB, Case, need, wipe
from lib.bucket import AWS, BucketThaw, Server
from lib.measures import SEED
from lib.report import Row, time_row

OBJECT_BYTES = 256 * MIB
BLOCK = 4 * MIB
NAME = "templates/rootfs.img"
# What a tier that fails costs while its breaker is open: the time of a long read, less that of a short
# one in which it opens.
LONG_NAME = "templates/long.img"
LONG_BYTES = 1024 * MIB
SHORT_BYTES = 256 * MIB
# Reads of one block in a measured run: one alone is mostly a process that starts.
BLOCKS_A_RUN = 16
TRACE_READS = 200
TRACE_BYTES = 64 * 1024


class TieredThaw(BucketThaw):
    """thaw that reads an object which it did not write, through tiers."""

    def tiers(self, *tiers):
        self._config = self._state / "tiers.json"
        self._config.write_text(json.dumps({"tier": list(tiers)}))
        return self

    def read(self, *words, name=NAME):
        return [*self.command[:-1], "--config-json", self._config, "read", "--object", name, *words]

    def upload(self, source, name):
        subprocess.run([AWS, "--endpoint-url", self._server.endpoint, "s3", "cp", "--quiet", str(source),
                        f"s3://{self._server.bucket}/{self._prefix}/{name}"], check=True, env=self.environment)


def measure_tiers(plan):
    bench = plan.bench
    with Server(bench) as server:
        thaw = TieredThaw(bench, "tiers", plan.binary, server)
        source = bench.place("rootfs.img")
        noise = random.Random(SEED)
        with open(source, "wb") as file:
            for _ in range(OBJECT_BYTES // MIB):
                file.write(noise.randbytes(MIB))
        thaw.upload(source, NAME)
        measure_cold(plan, server, thaw)
        measure_dead(plan, server, thaw)
        measure_failing(plan, server, thaw)
        measure_replay(plan, thaw, source)
        wipe(source)


def shell(commands):
    """One after another, without their output."""
    quoted = [" ".join(f"'{word}'" for word in words) for words in commands]
    return ["sh", "-ec", "\n".join(f"{each} >/dev/null" for each in quoted)]


def measure_cold(plan, server, thaw):
    """3: blocks that no tier has, to ranged GETs of curl."""
    bench = plan.bench
    url = subprocess.run([AWS, "--endpoint-url", server.endpoint, "s3", "presign",
                          f"s3://{server.bucket}/{thaw._prefix}/{NAME}"], check=True, env=thaw.environment,
                         stdout=subprocess.PIPE, text=True).stdout.strip()
    tier = bench.work / "cold tier"
    thaw.tiers({"kind": "disk", "path": str(tier)})
    offsets = random.Random(SEED).sample(range(0, OBJECT_BYTES, BLOCK), BLOCKS_A_RUN)
    ours = [thaw.read("--offset", str(each), "--length", str(BLOCK)) for each in offsets]
    theirs = [["curl", "-sf", "-r", f"{each}-{each + BLOCK - 1}", url] for each in offsets]
    samples = bench.interleaved(
        "tiers: cold", Case("thaw", lambda: bench.run(shell(ours), env=thaw.environment),
                            before=lambda: wipe(tier)),
        Case("curl", lambda: bench.run(shell(theirs), env=thaw.environment)))
    by_thaw, by_curl = samples
    plan.report.keep("tiers: cold", samples)
    plan.report.add(time_row(3, f"{BLOCKS_A_RUN} cold blocks of 4 MiB, a process each, to curl's ranged GETs",
                             by_thaw, by_curl, limit=1.3))


def measure_dead(plan, server, thaw):
    """5: a near bucket that refuses connections, to the store alone."""
    bench = plan.bench
    near = {"kind": "bucket", "url": f"s3://{server.bucket}-near/tier?endpoint=http://127.0.0.1:9"}
    thaw.tiers(near)
    through = thaw.read()
    alone = [*through, "--no-tiers"]
    samples = bench.interleaved(
        "tiers: dead near bucket", Case("dead tier", lambda: bench.run(shell([through]), env=thaw.environment)),
        Case("store alone", lambda: bench.run(shell([alone]), env=thaw.environment)))
    dead, store = samples
    plan.report.keep("tiers: dead near bucket", samples)
    plan.report.add(time_row(5, "256 MiB through a dead near bucket, to the store alone", dead, store, limit=1.15))


# A near bucket and what is wrong with it: options of test/support/fault_proxy.py.
FAILING = {
    "slow by 2 s": ("--latency-ms", "2000"),
    "corrupt": ("--method", "GET", "--fault", "flip=1"),
    "denying": ("--fault", "denied=1"),
    "denying writes": ("--method", "PUT", "--fault", "denied=1"),
}


def measure_failing(plan, server, thaw):
    """5: a near bucket that answers, but to no use, to the store alone, once the breaker is open."""
    bench = plan.bench
    source = bench.place("long.img")
    noise = random.Random(SEED)
    with open(source, "wb") as file:
        for _ in range(LONG_BYTES // MIB):
            file.write(noise.randbytes(MIB))
    thaw.upload(source, LONG_NAME)
    wipe(source)
    near = f"{server.bucket}-near"
    subprocess.run([AWS, "--endpoint-url", server.endpoint, "s3", "mb", f"s3://{near}"], check=True,
                   env=thaw.environment, stdout=subprocess.DEVNULL)
    for name, options in FAILING.items():
        prefix = name.replace(" ", "-")
        if name == "corrupt":
            # What is to be damaged on its way must be there; as much as a drain at exit may write.
            thaw.tiers({"kind": "bucket", "url": f"s3://{near}/{prefix}?endpoint={server.endpoint}"})
            for offset in range(0, LONG_BYTES, 128 * MIB):
                bench.run(shell([thaw.read("--offset", str(offset), "--length", str(128 * MIB), name=LONG_NAME)]),
                          env=thaw.environment)
        with server.shaped(*options) as endpoint:
            thaw.tiers({"kind": "bucket", "url": f"s3://{near}/{prefix}?endpoint={endpoint}"})
            measure_open(plan, thaw, name)


def measure_open(plan, thaw, name):
    bench = plan.bench
    short = ["--length", str(SHORT_BYTES)]

    def case(what, *words):
        return Case(what, lambda: bench.run(shell([thaw.read(*words, name=LONG_NAME)]), env=thaw.environment))
    samples = bench.interleaved(
        f"tiers: {name}", case("long", "--stats"), case("short", *short),
        case("long alone", "--no-tiers"), case("short alone", *short, "--no-tiers"))
    plan.report.keep(f"tiers: {name}", samples)
    long, begin, long_alone, begin_alone = (sample.median for sample in samples)
    plan.report.add(Row(5, f"near bucket {name}, breaker open: 768 MiB, to the store alone",
                        (long - begin) / (long_alone - begin_alone), limit=1.15,
                        detail=f"{long - begin:.2f} s of {long:.2f}; alone {long_alone - begin_alone:.2f} of "
                               f"{long_alone:.2f}"))


def measure_replay(plan, thaw, source):
    """6: a trace of random reads, cold and then once more."""
    tier = plan.bench.place("trace tier")
    thaw.tiers({"kind": "disk", "path": str(tier)})
    generator = random.Random(SEED)
    trace = [generator.randrange(0, OBJECT_BYTES - TRACE_BYTES) for _ in range(TRACE_READS)]
    whole = source.read_bytes()
    for _ in range(2):
        hits = misses = 0
        for offset in trace:
            done = subprocess.run([str(word) for word in thaw.read("--offset", str(offset), "--length",
                                                                   str(TRACE_BYTES), "--stats")],
                                  env=thaw.environment, capture_output=True, check=True)
            need(done.stdout == whole[offset:offset + TRACE_BYTES], "wrong bytes")
            found = re.search(r"tier .*: (\d+) hits, (\d+) misses", done.stderr.decode())
            need(found, "no statistics of the tier")
            hits, misses = hits + int(found[1]), misses + int(found[2])
    plan.report.keep("tiers: replay", hits=hits, misses=misses)
    plan.report.add(Row(6, f"warm replay of {TRACE_READS} reads: blocks that the tier lacked, to all",
                        misses / (hits + misses), limit=0.01, detail=f"{hits} hits, {misses} misses"))


TIER_MEASURES = {"tiers": measure_tiers}
