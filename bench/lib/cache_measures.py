"""The measure of CI caches: a job whose caches are all exact and in place, to its requests' own time."""

import json
import statistics
import sys

from lib.bench import Case, need, wipe
from lib.bucket import SUPPORT, BucketThaw, Server
from lib.report import Row

sys.path.insert(0, str(SUPPORT))

from fault_proxy import FaultProxy  # noqa: E402

CACHES = 20
FILES = 300      # in each target
FILE_BYTES = 2000
AT_ONCE = 4      # thaw's own default
LATENCY_S = 0.03


def own_time(log):
    """What these requests take when so many are under way at any time."""
    return sum(each.seconds for each in log) / AT_ONCE


def measure_cache(plan):
    bench, report = plan.bench, plan.report
    job = bench.place("job")
    (job / ".thaw").mkdir(parents=True)
    lines = ["caches:"]
    for number in range(CACHES):
        lines.append(f"  - {{name: c{number}, cache_key: [v1], target_paths: [t{number}]}}")
        target = job / f"t{number}"
        target.mkdir()
        for file in range(FILES):
            (target / f"f{file}").write_bytes(f"{number} {file} ".encode() * (FILE_BYTES // 8))
    (job / ".thaw/cache.yml").write_text("\n".join(lines) + "\n")
    with Server(bench) as server, FaultProxy(server.endpoint, latency_s=LATENCY_S) as proxy:
        thaw = BucketThaw(bench, "cache", plan.binary, server)

        def cached(verb, client):
            return bench.run([*client.command, "cache", verb], env=client.environment, cwd=job)

        far = thaw.through(proxy.endpoint)
        cached("save", far)
        own = []

        def check(outcome):
            states = {each["state"] for each in json.loads(outcome.stdout)["caches"]}
            need(states == {"equal"}, f"not in place: {states}")

        def after():
            log = proxy.wait_for(lambda log: all(each.seconds is not None for each in log))
            own.append(own_time(log))

        (sample,) = bench.interleaved("cache: in place", Case(
            "thaw", lambda: cached("restore", far), before=proxy.forget, check=check, after=after))
        requests = len(proxy.log())
    own = own[1:]  # the first is the warm-up
    theirs = statistics.median(own)
    report.keep("cache: in place", [sample], own=own, requests=requests)
    report.add(Row(2, f"a job's {CACHES} caches, exact and in place, {LATENCY_S * 1000:.0f} ms a request, to its "
                      "requests' own time", sample.median / theirs, limit=1.3,
                   detail=f"thaw {sample.median:.3f} s; {requests} requests, {AT_ONCE} at once, {theirs:.3f} s "
                          f"({min(own):.3f}–{max(own):.3f})"))
    wipe(job)


CACHE_MEASURES = {"cache": measure_cache}
