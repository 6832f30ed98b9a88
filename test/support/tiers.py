"""Tiers of a test's thaw: their configuration, what --stats says of them, and their files."""

import json
import os
import re

STORE_LINE = re.compile(r"thaw: stats: (?!tier )(?P<name>.*): (?P<counts>\d+ gets.*)")
TIER_LINE = re.compile(r"thaw: stats: tier (?P<name>.*): (?P<counts>\d+ hits.*)")
INDEX_LINE = re.compile(r"thaw: stats: tier .*: index: (?P<counts>\d+ notes.*)")
COUNT = re.compile(r"(\d+) (hits|misses|stepped over|failures|corrupt|fills|dropped|failed|gets|puts|finds|lists|notes|rebuilt)\b")


def disk(path, **more):
    return {"kind": "disk", "path": path, **more}


def bucket(url, **more):
    return {"kind": "bucket", "url": url, **more}


def with_tiers(thaw, *tiers, name="tiers.json", **sections):
    """The words that put these tiers in front of the store, nearest first."""
    path = os.path.join(thaw.root, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"tier": list(tiers), **sections}, file)
    os.replace(path + ".new", path)
    return ["--config-json", path, "--stats"]


class Stats:
    """`store`, `tiers` (nearest first) and the `indexes` of those that have one: what was counted, by its word."""

    def __init__(self, answer):
        text = answer.err.decode("utf-8", "replace")
        store = STORE_LINE.search(text)
        assert store, answer
        self.name = store["name"]
        self.store = self._counts(store["counts"])
        self.tiers = [self._counts(each["counts"]) for each in TIER_LINE.finditer(text)]
        self.indexes = [self._counts(each["counts"]) for each in INDEX_LINE.finditer(text)]

    @staticmethod
    def _counts(text):
        return {word: int(number) for number, word in COUNT.findall(text)}

    @property
    def tier(self):
        only, = self.tiers
        return only

    @property
    def index(self):
        only, = self.indexes
        return only

    def __repr__(self):
        return f"{self.name}: {self.store}; {self.tiers}; {self.indexes}"


def blocks(tier, below=""):
    """The files of a disk tier's blocks."""
    return sorted(os.path.join(folder, each) for folder, _, files in os.walk(os.path.join(tier, "blocks"))
                  for each in files if below in os.path.join(folder, each))


def bytes_of(tier):
    return sum(os.path.getsize(each) for each in blocks(tier))
