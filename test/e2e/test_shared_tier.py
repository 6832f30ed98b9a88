"""A tier that machines share: blocks in a bucket, last uses in Redis. docs/operations.md, "The index of a tier"."""

import os
import random

import pytest

from daemons import LOOPBACK, Daemons, free_port
from tiers import bucket, with_tiers
from trees import small_tree, write

MIB = 1 << 20


@pytest.fixture
def redis(work):
    port = free_port()
    daemons = Daemons(f"{work}/redis")
    os.makedirs(f"{work}/redis", exist_ok=True)
    daemons.start("redis", "redis-server", "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no",
                  "--dir", f"{work}/redis")
    daemons.wait_until_listening("redis", port)
    yield f"redis://{LOOPBACK}:{port}/0", daemons
    daemons.stop()


class Shared:
    """A store and a tier in two buckets, and ten raw objects of 1 MiB."""

    def __init__(self, s3, work, index):
        self.s3 = s3
        self.bucket = s3.server.create_bucket()
        self.client = s3.server.client(self.bucket)
        url = s3.url(s3.server.endpoint, bucket=self.bucket, prefix="near")
        self.words = with_tiers(s3, bucket(url, block_size="1MiB", index=index))
        self.bounded = with_tiers(s3, bucket(url, block_size="1MiB", index=index, max_bytes="5MiB"), name="bounded.json")
        s3.save("k", small_tree(f"{work}/tree"))
        noise = random.Random(3)
        self.names = [f"build{number % 2}/{number}" for number in range(10)]
        for name in self.names:
            s3.client.put(f"{s3.prefix}/{name}", noise.randbytes(MIB))

    def read_all(self, names=None, words=None):
        for name in names or self.names:
            self.s3.ok("read", "--object", name, *(words or self.words), json=False)

    def blocks(self, name=""):
        return [each for each in self.client.keys_below("near/blocks/") if f"/{name}" in each]

    def clean(self, *more):
        return self.s3.ok("tier", "clean", *more, *self.words)["tiers"][0]

    def stats(self):
        return self.s3.ok("tier", "stats", *self.words)["tiers"][0]


@pytest.fixture
def shared(s3, work, redis):
    shared = Shared(s3, work, redis[0])
    yield shared
    shared.client.close()


def test_what_was_used_longest_ago_goes(shared):
    shared.read_all()
    shared.read_all(shared.names[:3])
    told = shared.stats()
    assert told["blocks"] == told["index"]["blocks"] == 10 and told["bytes"] == told["index"]["bytes"]
    answer = shared.clean("--max-bytes", "5MiB", "--yes")
    assert answer["by"]["index"]["deleted"] == answer["deleted"] >= 5 and not answer["blind"]
    assert all(shared.blocks(f"{name}/@/") for name in shared.names[:3])
    assert not shared.blocks(f"{shared.names[3]}/@/")
    assert shared.clean("--older-than", "1ms", "--yes")["deleted"] >= 4
    assert shared.blocks() == [] and shared.stats()["index"]["blocks"] == 0


def test_the_bound_is_kept(shared):
    for _ in range(2):
        shared.read_all(words=shared.bounded)
        assert shared.stats()["bytes"] <= 5 * MIB
    assert len(shared.blocks()) >= 3


def test_invalidation(shared):
    shared.read_all()
    answer = shared.s3.ok("invalidate", "build1", "--yes", *shared.words)
    assert answer["tiers"][0]["blocks"] == 5
    assert not shared.blocks("build1/") and len(shared.blocks("build0/")) == 5
    assert shared.stats()["index"]["blocks"] == 5


@pytest.mark.parametrize("fault", ["dead", "restarted empty"])
def test_a_lost_index_removes_nothing_by_age(shared, redis, fault):
    shared.read_all()
    _, daemons = redis
    if fault == "dead":
        daemons.stop()
        answer = shared.s3.fails(1, "tier", "clean", "--older-than", "1ms", "--yes", *shared.words)["tiers"][0]
        assert answer["errors"] and answer["kept_unknown"] == 10
    else:
        shared.s3.ok("read", "--object", shared.names[0], *shared.words, json=False)
        answer = shared.clean("--older-than", "1h", "--yes")
    assert answer["deleted"] == 0 and len(shared.blocks()) == 10
