"""The measures, in the order of the list of what must hold. Each is a function of a Plan that adds
rows to its report."""

import dataclasses
import time
from pathlib import Path

from lib import tree
from lib.bench import GIB, MIB, Bench, Case, need, say, wipe
from lib.programs import Borg, Casync, Restic, Tar, Thaw
from lib.report import Report, Row, bytes_row, peak_row, seconds_text, time_row

SEED = 2  # of all random changes: the same ones in every run


@dataclasses.dataclass
class Plan:
    bench: Bench
    binary: str
    tree: Path  # never changed
    report: Report
    versions: int = 20
    sparse_bytes: int = 20 * GIB

    def thaw(self, name="thaw"):
        return Thaw(self.bench, name, self.binary)

    def changeable_tree(self):
        target = self.bench.place("copy")
        tree.copy(self.tree, target)
        return target

    def restoring(self, name, restore, made_by=None):
        """A case that restores the tree into an empty place: into nothing, or into an empty
        directory for those that want one."""
        target = self.bench.work / f"restored by {name}"

        def check(_):
            tree.compare(self.tree, target, attributes=made_by is None)

        return Case(name, run=lambda: restore(target), check=check,
                    before=target.mkdir if made_by else None, after=lambda: wipe(target))


def clock_tick():
    """Until what is written next gets another time stamp than what was written last."""
    time.sleep(0.05)


def published(outcome):
    need("reason" not in outcome.json(), f"not published: {outcome.json()}")
    return outcome


def unchanged(outcome):
    need(outcome.json().get("reason") == "unchanged", f"not unchanged: {outcome.json()}")
    return outcome


def measure_restore(plan):
    """1: into an empty place, against tar and restic."""
    thaw, tar, restic = plan.thaw(), Tar(plan.bench, "archive"), Restic(plan.bench, "restic")
    thaw.save("tree", plan.tree)
    tar.save(plan.tree)
    restic.save(plan.tree)

    def restore(target):
        return thaw.restore("tree", target)

    ours = plan.restoring("thaw", restore)
    ours.before = thaw.forget
    samples = plan.bench.interleaved(
        "restore", ours, plan.restoring("tar", tar.restore, made_by=tar),
        plan.restoring("restic", restic.restore, made_by=restic))
    by_thaw, by_tar, by_restic = samples
    plan.report.keep("restore", samples)
    plan.report.add(
        time_row(1, "restore into an empty place, to zstd -dc | tar -x",
                 by_thaw, by_tar, limit=0.60, aim=0.45),
        time_row(1, "restore into an empty place, to restic restore", by_thaw, by_restic,
                 limit=0.20),
        peak_row("restore", by_thaw))


def measure_save(plan):
    """2: the first save, against tar | zstd, in time and bytes."""
    thaw, tar = plan.thaw(), Tar(plan.bench, "archive")
    samples = plan.bench.interleaved(
        "first save",
        Case("thaw", lambda: published(thaw.save("tree", plan.tree)), before=thaw.reset),
        Case("tar", lambda: tar.save(plan.tree), before=tar.reset))
    by_thaw, by_tar = samples
    sizes = {"thaw": thaw.stored_bytes(), "tar": tar.stored_bytes()}
    plan.report.keep("first save", samples, stored_bytes=sizes)
    plan.report.add(
        time_row(2, "first save, to tar -c | zstd -3 -T0", by_thaw, by_tar, limit=0.90, aim=0.65),
        bytes_row(2, "bytes of the whole store, to the archive's", ("thaw", sizes["thaw"]),
                  ("tar", sizes["tar"]), limit=1.05),
        peak_row("first save", by_thaw))


def measure_resave(plan):
    """3: a second save with nothing changed, against borg's; then with one file changed."""
    thaw, borg = plan.thaw(), Borg(plan.bench, "borg")
    copy = plan.changeable_tree()
    clock_tick()
    thaw.save("tree", copy)
    borg.save(copy)
    samples = plan.bench.interleaved(
        "unchanged save", Case("thaw", lambda: unchanged(thaw.save("tree", copy))),
        Case("borg", lambda: borg.save(copy)))
    by_thaw, by_borg = samples
    plan.report.keep("unchanged save", samples,
                     files_read=[outcome.json()["files_read"] for outcome in by_thaw.outcomes])

    changes = tree.Changes(copy, SEED)

    def change_one():
        changes.append_byte()
        clock_tick()

    # Against unchanged saves of the same minutes, so interleaved anew.
    samples = plan.bench.interleaved(
        "one file changed",
        Case("one file changed", lambda: published(thaw.save("tree", copy)), before=change_one),
        Case("unchanged", lambda: unchanged(thaw.save("tree", copy)), before=clock_tick))
    one, none = samples
    new_bytes = [outcome.json()["new_bytes"] for outcome in one.outcomes]
    plan.report.keep("one file changed", samples, new_bytes=new_bytes)
    plan.report.add(
        time_row(3, "unchanged save, to borg's second create", by_thaw, by_borg, limit=0.12,
                 aim=0.06),
        time_row(3, "one file changed, to an unchanged save", one, none, limit=1.5),
        Row(3, "one file changed: new frames, most of all runs", max(new_bytes), unit="B",
            limit=2 * MIB),
        peak_row("unchanged save", by_thaw, none), peak_row("one file changed", one))
    wipe(copy)


def measure_sync(plan):
    """4: restore --mode sync onto the restored tree, against the tar restore."""
    thaw, tar = plan.thaw(), Tar(plan.bench, "archive")
    thaw.save("tree", plan.tree)
    tar.save(plan.tree)
    # The stat cache that this restore fills stays: it is what a sync lives on.
    target = plan.bench.place("restored")
    thaw.restore("tree", target)
    changes = tree.Changes(target, SEED)

    def sync():
        return thaw.restore("tree", target, "--mode", "sync")

    def change_some():
        changes.rewrite(0.01)
        clock_tick()

    def check(_):
        tree.compare(plan.tree, target)

    samples = plan.bench.interleaved(
        "sync", Case("nothing changed", sync, before=clock_tick, check=check),
        Case("1% changed", sync, before=change_some, check=check),
        plan.restoring("tar", tar.restore, made_by=tar))
    none, some, by_tar = samples
    plan.report.keep("sync", samples)
    plan.report.add(
        time_row(4, "sync, nothing changed, to the tar restore", none, by_tar, limit=0.12),
        time_row(4, "sync, 1% of files changed, to the tar restore", some, by_tar, limit=0.35),
        peak_row("sync, nothing changed", none), peak_row("sync, 1% changed", some))
    wipe(target)


def measure_sparse(plan):
    """5: the memory for one large sparse file. Once each: memory hardly varies."""
    thaw = plan.thaw()
    source, target = plan.bench.place("sparse"), plan.bench.place("restored")
    source.mkdir()
    say("making a sparse file")
    data = tree.make_sparse(source / "image", plan.sparse_bytes, SEED)
    clock_tick()
    saved = published(thaw.save("image", source))
    thaw.forget()
    restored = thaw.restore("image", target)
    say(f"sparse: save {saved.seconds:.2f} s, restore {restored.seconds:.2f} s")
    tree.compare_sparse(source / "image", target / "image")
    what = f"one sparse file of {plan.sparse_bytes / GIB:g} GiB, {data / GIB:g} GiB data"
    plan.report.keep("sparse", stored_bytes=thaw.stored_bytes())
    for verb, outcome in (("saving", saved), ("restoring", restored)):
        plan.report.keep("sparse", **{verb: {"seconds": outcome.seconds,
                                             "peak_bytes": outcome.peak_bytes}})
        plan.report.add(Row(5, f"peak memory: {verb} {what}", outcome.peak_bytes, unit="B",
                            limit=512 * MIB, detail=f"thaw {outcome.seconds:.2f} s"))
    wipe(source)
    wipe(target)


def measure_versions(plan):
    """6: successive versions of the tree, kept with thaw and with restic."""
    bench = plan.bench
    thaw, restic = plan.thaw(), Restic(bench, "restic")
    copy = plan.changeable_tree()
    clock_tick()
    thaw.save("tree", copy)
    restic.save(copy)
    changes = tree.Changes(copy, SEED)
    saves, backups = [], []
    for version in range(1, plan.versions + 1):
        changes.next_version(0.01)
        clock_tick()
        saves.append(published(thaw.save("tree", copy)))
        backups.append(restic.save(copy))
        say(f"version {version}/{plan.versions}: thaw {saves[-1].seconds:.2f} s, "
            f"restic {backups[-1].seconds:.2f} s")
    sizes = {"thaw": thaw.stored_bytes(), "restic": restic.stored_bytes()}
    restic.reset()  # room

    fresh = plan.thaw("fresh")
    fresh_bytes = published(fresh.save("tree", copy)).json()["stored_bytes"]
    newest = dataclasses.replace(plan, tree=copy)
    cases = [newest.restoring(name, lambda target, program=program: program.restore("tree", target))
             for name, program in (("last version", thaw), ("fresh", fresh))]
    cases[0].before, cases[1].before = thaw.forget, fresh.forget
    samples = bench.interleaved("restore of the last version", *cases)
    last, alone = samples
    fetched = last.outcomes[-1].json()["fetched_bytes"]
    plan.report.keep("versions", samples, stored_bytes=sizes, fetched_bytes=fetched,
                     fresh_stored_bytes=fresh_bytes,
                     save_seconds=[outcome.seconds for outcome in saves],
                     restic_seconds=[outcome.seconds for outcome in backups],
                     save_peak_bytes=[outcome.peak_bytes for outcome in saves])
    plan.report.add(
        bytes_row(6, f"{plan.versions} versions: bytes of the store, to restic's repository",
                  ("thaw", sizes["thaw"]), ("restic", sizes["restic"]), limit=1.0),
        time_row(6, "restore of the last version, to the same tree saved fresh", last, alone,
                 limit=1.3),
        bytes_row(6, "fetched for the last version, to the fresh snapshot's frames",
                  ("fetched", fetched), ("fresh", fresh_bytes), limit=2.0),
        Row(5, "peak memory: saving a version", max(outcome.peak_bytes for outcome in saves),
            limit=256 * MIB, aim=128 * MIB, unit="B"),
        peak_row("restore of the last version", last))
    wipe(copy)


def measure_peers(plan):
    """For information: first saves and restores by all programs."""
    cases, restores = [], []
    for name, kind in (("restic", Restic), ("borg", Borg), ("casync", Casync)):
        program = kind(plan.bench, name)
        cases.append(Case(name, run=lambda program=program: program.save(plan.tree),
                          before=program.reset))
        restores.append(plan.restoring(name, program.restore, made_by=program))
    thaw = plan.thaw()
    cases.append(Case("thaw", lambda: thaw.save("tree", plan.tree), before=thaw.reset))
    restores.append(plan.restoring("thaw", lambda target: thaw.restore("tree", target)))
    restores[-1].before = thaw.forget
    for title, group in (("first save", cases), ("restore", restores)):
        samples = plan.bench.interleaved(title, *group)
        plan.report.keep(f"peers: {title}", samples)
        for sample in samples[:-1]:
            plan.report.add(time_row(0, f"{title}, to {sample.name}", samples[-1], sample))


# In order; the last one only where it is named.
MEASURES = {"restore": measure_restore, "save": measure_save, "resave": measure_resave,
            "sync": measure_sync, "sparse": measure_sparse, "versions": measure_versions,
            "peers": measure_peers}
DEFAULT = [name for name in MEASURES if name != "peers"]


def room_for(names, facts, sparse_bytes):
    """What the named measures hold at once, at most, in bytes."""
    most = 0
    if "sparse" in names:
        # A tenth is data: the source, what is stored, what is restored.
        most = 3 * max(sparse_bytes // 10, 128 * MIB)
    if set(names) - {"sparse"}:
        # A copy of the tree and a restored one; stores and archives of a third each.
        most = max(most, round(3.5 * facts.allocated_bytes))
    return most + 256 * MIB
