"""thaw archive get, put, import, export, and restore --archive, against other programs' tar."""

import gzip
import json
import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import time

import pytest

from archives import archive, file, folder, hard_link, pax, python_tar, symlink
from driver import Thaw, stages_in
from trees import assert_same, data_map, describe, small_tree, words, write

pytestmark = pytest.mark.asan

FORMATS = ("tar", "tar.gz", "tar.zst")


@pytest.fixture
def tree(work):
    """Every kind that a snapshot keeps, but for what root alone can make."""
    root = small_tree(f"{work}/tree", files=60)
    write(f"{root}/names/" + "n" * 250, b"a long name")
    write(f"{root}/" + "/".join(["deep"] * 60) + "/file", b"deep")
    write(os.fsencode(f"{root}/names/") + b"latin-\xe9\xff", b"not UTF-8")
    write(f"{root}/names/zażółć", b"composed")
    write(f"{root}/names/e\u0301", b"decomposed")
    write(f"{root}/large", os.urandom(3 << 20))
    write(f"{root}/times/old", b"x", mtime_ns=1_234_567_890_123_456_789)
    os.makedirs(f"{root}/empty/folder")
    os.mkfifo(f"{root}/pipe")
    os.link(f"{root}/large", f"{root}/another name of large")
    os.symlink("/nowhere/at/all", f"{root}/absolute link")
    os.symlink("names/" + "n" * 250, f"{root}/link")
    os.chmod(f"{root}/times", 0o2750)
    with open(f"{root}/holes", "wb") as out:
        out.truncate(5 << 20)
        out.seek(1 << 20)
        out.write(b"data" * 1000)
    with open(f"{root}/hole alone", "wb") as out:
        out.truncate(1 << 20)
    try:
        os.setxattr(f"{root}/large", "user.comment", b"a\0b")
    except OSError:
        pass
    return root


def run(*words_, **kw):
    return subprocess.run(words_, check=True, stdout=subprocess.PIPE, **kw).stdout


def need(program):
    path = shutil.which(program)
    if not path:
        pytest.skip(f"no {program} here (./dev deps test)")
    return path


def object_url(s3, name):
    return s3.url(prefix=name)


# ------------------------------------------------------------------------------------------- round trips

@pytest.mark.parametrize("form", FORMATS)
def test_put_and_get_round_trip(thaw, work, tree, form):
    put = thaw.ok("archive", "put", tree, f"{work}/a.{form}")
    assert put["format"] == form and put["stored_bytes"] == os.path.getsize(f"{work}/a.{form}")
    got = thaw.ok("archive", "get", f"{work}/a.{form}", f"{work}/out")
    assert got["compression"] == {"tar": "none", "tar.gz": "gzip", "tar.zst": "zstd"}[form]
    assert got["placement"] == "swapped" and got["files"] == put["files"] and got["dirs"] == put["dirs"]
    assert_same(tree, f"{work}/out")
    assert data_map(f"{work}/out/holes") == data_map(f"{tree}/holes")
    assert os.stat(f"{work}/out/hole alone").st_blocks == 0
    assert stages_in(work) == []


@pytest.mark.parametrize("form", FORMATS)
def test_put_and_get_through_a_bucket(s3, work, tree, form):
    write(f"{tree}/much", os.urandom(20 << 20))
    url = object_url(s3, f"some/where/cache.{form}")
    s3.ok("archive", "put", tree, url)
    assert s3.client.uploads() == []
    s3.ok("archive", "get", url, f"{work}/out")
    assert_same(tree, f"{work}/out")
    assert [key for key in s3.client.keys_below("some/")] == [f"some/where/cache.{form}"]


def test_gnu_tar_reads_what_is_put(thaw, work, tree):
    for form in FORMATS:
        thaw.ok("archive", "put", tree, f"{work}/a.{form}")
        os.mkdir(f"{work}/{form}")
        run("tar", "-x", "--xattrs", "-f", f"{work}/a.{form}", "-C", f"{work}/{form}")
        assert_same(tree, f"{work}/{form}")
    assert run("gzip", "-dc", f"{work}/a.tar.gz") == run("zstd", "-dcq", f"{work}/a.tar.zst")
    run("gzip", "-t", f"{work}/a.tar.gz")


def test_others_read_what_is_put(thaw, work):
    plain = small_tree(f"{work}/plain", files=30)
    write(f"{plain}/" + "long/" * 40 + "name", b"x")
    thaw.ok("archive", "put", plain, f"{work}/a.tgz", "--prefix", "top")
    with tarfile.open(f"{work}/a.tgz") as tar:
        tar.extractall(f"{work}/python")
    assert_same(plain, f"{work}/python/top", times=False)
    for program, words_ in (("bsdtar", ["-xf"]), ("busybox", ["tar", "-xzf"])):
        if not shutil.which(program):
            continue
        os.mkdir(f"{work}/{program}")
        run(program, *words_, f"{work}/a.tgz", "-C", f"{work}/{program}")
        assert_same(plain, f"{work}/{program}/top", times=False)


# ------------------------------------------------------------------------------------ others' archives

@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7", "oldgnu"])
@pytest.mark.parametrize("pack", ["", "gzip", "zstd", "xz"])
def test_reads_gnu_tar(thaw, work, form, pack):
    tree = small_tree(f"{work}/tree", files=30)
    os.link(f"{tree}/d0/s0/file0", f"{tree}/linked")
    if form in ("gnu", "posix", "oldgnu"):
        write(f"{tree}/" + "long-name/" * 20 + "file", b"x")
    data = run("tar", "-c", f"--format={form}", "-C", tree, ".")
    write(f"{work}/archive", run(pack, "-c", input=data) if pack else data)
    thaw.ok("archive", "get", f"{work}/archive", f"{work}/out")
    assert_same(tree, f"{work}/out", times=False)


def test_reads_sparse_files_of_gnu_tar(thaw, work):
    os.makedirs(f"{work}/tree")
    for name, runs in (("one", [(1 << 20, b"x" * 5000)]), ("none", []),
                       ("many", [(i << 18, b"y" * 4096) for i in range(0, 120, 2)])):
        with open(f"{work}/tree/{name}", "wb") as out:
            out.truncate(40 << 20)
            for at, data in runs:
                out.seek(at)
                out.write(data)
    for words_ in (["--format=gnu"], ["--format=posix", "--sparse-version=0.0"],
                   ["--format=posix", "--sparse-version=0.1"], ["--format=posix", "--sparse-version=1.0"]):
        run("tar", "-cS", *words_, "-f", f"{work}/archive", "-C", f"{work}/tree", ".")
        thaw.ok("archive", "get", f"{work}/archive", f"{work}/out")
        assert_same(f"{work}/tree", f"{work}/out", times=False)
        assert os.stat(f"{work}/out/many").st_blocks * 512 < 4 << 20
        thaw.ok("archive", "import", f"{work}/archive", "sparse")
        thaw.restore("sparse", f"{work}/restored")
        assert_same(f"{work}/tree", f"{work}/restored", times=False)


def test_sparse_files_whose_names_are_not_utf8(thaw, work):
    """Two long folders that differ at their ends, and a name that is the same in both."""
    tree = os.fsencode(f"{work}/tree")
    name = b"n" * 120
    for end in (b"a", b"b"):
        path = tree + b"/" + b"d" * 200 + b"\xff" + end
        os.makedirs(path)
        with open(path + b"/" + name, "wb") as out:
            out.truncate(1 << 20)
            out.seek(512 << 10)
            out.write(b"data of " + end)
        os.link(path + b"/" + name, path + b"/link")
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")
    thaw.save("k", f"{work}/tree")
    thaw.ok("archive", "export", "k", f"{work}/b.tar")
    thaw.ok("archive", "import", f"{work}/b.tar", "again")
    thaw.restore("again", f"{work}/restored")
    assert_same(f"{work}/tree", f"{work}/restored")
    os.mkdir(f"{work}/gnu")
    run("tar", "-xf", f"{work}/a.tar", "-C", f"{work}/gnu")
    assert_same(f"{work}/tree", f"{work}/gnu")


def test_names_in_cesu_8(thaw, work):
    """Which libarchive would turn into UTF-8."""
    name = b"\xed\xa0\xbd\xed\xb8\x80"
    tree = os.fsencode(f"{work}/tree/")
    write(tree + name, b"one")
    write(tree + b"\xf0\x9f\x98\x80", b"two")
    write(tree + b"folder " + name + b"/" + b"n" * 200, b"three")
    os.symlink(name, tree + b"link")
    os.link(tree + name, tree + b"hard")
    with open(tree + b"holes " + name, "wb") as out:
        out.truncate(1 << 20)
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")
    os.mkdir(f"{work}/gnu")
    run("tar", "-xf", f"{work}/a.tar", "-C", f"{work}/gnu")
    assert_same(f"{work}/tree", f"{work}/gnu")


def test_names_of_attributes(thaw, work):
    names = ["user.sp ace", "user.a=b", "user.p%q", "user.%20", "user.\u017e", "user." + "\u017e" * 100]
    write(f"{work}/tree/f", b"x")
    try:
        for name in names:
            os.setxattr(f"{work}/tree/f", name, name.encode())
    except OSError:
        pytest.skip("no extended attributes here")
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    thaw.save("k", f"{work}/tree")
    thaw.ok("archive", "export", "k", f"{work}/b.tar")
    run("tar", "--xattrs", "-cf", f"{work}/gnu.tar", "-C", f"{work}/tree", ".")
    archives = ["a", "b", "gnu"]
    if shutil.which("bsdtar"):
        run("bsdtar", "--xattrs", "--format=pax", "-cf", f"{work}/bsd.tar", "-C", f"{work}/tree", ".")
        archives.append("bsd")
    for one in archives:
        thaw.ok("archive", "get", f"{work}/{one}.tar", f"{work}/{one}")
        thaw.ok("archive", "import", f"{work}/{one}.tar", one)
        thaw.restore(one, f"{work}/{one}-restored")
        for tree in (one, f"{one}-restored"):
            found = {name: os.getxattr(f"{work}/{tree}/f", name) for name in os.listxattr(f"{work}/{tree}/f")}
            assert {name: value for name, value in found.items() if name.startswith("user.")} \
                == {name: name.encode() for name in names}, tree


@pytest.mark.parametrize("zeros", [700, (9 << 20) + 700, 20 << 20])
def test_zeros_behind_the_end_mark(thaw, work, zeros):
    write(f"{work}/a.tar", archive(file(b"a", b"x")) + bytes(zeros))
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/out")
    thaw.ok("archive", "import", f"{work}/a.tar", "k")
    write(f"{work}/b.tar", archive(file(b"a", b"x")) + bytes(zeros // 512 * 512) + archive(file(b"b", b"y")))
    thaw.ok("archive", "get", f"{work}/b.tar", f"{work}/both")
    assert sorted(os.listdir(f"{work}/both")) == ["a", "b"]


def test_times_with_an_exponent(thaw, work):
    write(f"{work}/a.tar", archive(pax((b"mtime", b"5e-05")), file(b"a", b"x")))
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/out")
    assert os.stat(f"{work}/out/a").st_mtime_ns == 50_000


def test_reads_python_bsdtar_busybox_and_node(thaw, work):
    tree = small_tree(f"{work}/tree", files=20)
    write(f"{tree}/" + "long-name/" * 15 + "zażółć", b"x")
    made = {}
    with tarfile.open(f"{work}/python.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, ".")
    made["python"] = f"{work}/python.tar"
    with tarfile.open(f"{work}/python-gnu.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tree, ".")
    made["python-gnu"] = f"{work}/python-gnu.tar"
    if shutil.which("bsdtar"):
        run("bsdtar", "-cf", f"{work}/bsdtar.tar", "-C", tree, ".")
        made["bsdtar"] = f"{work}/bsdtar.tar"
    if shutil.which("busybox"):
        run("busybox", "tar", "-cf", f"{work}/busybox.tar", "-C", tree, ".")
        made["busybox"] = f"{work}/busybox.tar"
    npm = next((each for each in ("/usr/lib/node_modules/npm/node_modules/tar",
                                  "/usr/local/lib/node_modules/npm/node_modules/tar") if os.path.isdir(each)), None)
    if npm and shutil.which("node"):
        run("node", "-e", f"require({json.dumps(npm)}).create({{file: process.argv[1], cwd: process.argv[2], sync: true}},"
            "['.'])", f"{work}/node.tar", tree)
        made["node"] = f"{work}/node.tar"
    assert len(made) >= 2
    for name, path in made.items():
        thaw.ok("archive", "get", path, f"{work}/out-{name}")
        assert_same(tree, f"{work}/out-{name}", times=False)


def test_global_pax_headers(thaw, work):
    """What GNU tar says of all files at once; and each archive of several has its own."""
    write(f"{work}/tree/a", b"x", mtime_ns=1_600_000_000_000_000_000)
    run("tar", "-c", "--format=posix", "--pax-option=comment=hi,mtime=1234567890.5", "-f", f"{work}/gnu.tar", "-C",
        f"{work}/tree", "a")
    thaw.ok("archive", "get", f"{work}/gnu.tar", f"{work}/gnu")
    assert os.stat(f"{work}/gnu/a").st_mtime_ns == 1_234_567_890_500_000_000

    write(f"{work}/archive", archive(
        pax((b"uid", b"1234"), (b"gid", b"567"), (b"mtime", b"1000000000.25"), kind=b"g"), file(b"a"),
        pax((b"mtime", b"5")), file(b"b")) + archive(file(b"c", mtime=77)))
    thaw.ok("archive", "import", f"{work}/archive", "k")
    thaw.restore("k", f"{work}/out")
    found = {name: os.stat(f"{work}/out/{name}") for name in "abc"}
    assert [found[name].st_mtime_ns for name in "abc"] == [1_000_000_000_250_000_000, 5_000_000_000, 77_000_000_000]
    if os.geteuid() == 0:
        assert [(found[name].st_uid, found[name].st_gid) for name in "abc"] == [(1234, 567), (1234, 567), (0, 0)]


def test_times_before_1970(thaw, work):
    """Written as GNU tar writes them, and read as it reads them: -1.5 is half a second before -1."""
    times = [-1_500_000_000, -1_000_000_000, -2_000_000_001, -86_400_250_000_000]
    for i, time_ns in enumerate(times):
        write(f"{work}/tree/{i}", b"x", mtime_ns=time_ns)
        assert os.stat(f"{work}/tree/{i}").st_mtime_ns == time_ns
    os.utime(f"{work}/tree", ns=(0, 0))
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    os.mkdir(f"{work}/gnu")
    run("tar", "-xf", f"{work}/a.tar", "-C", f"{work}/gnu")
    assert_same(f"{work}/tree", f"{work}/gnu")
    thaw.ok("archive", "get", f"{work}/a.tar", f"{work}/got")
    assert_same(f"{work}/tree", f"{work}/got")
    run("tar", "-c", "--format=posix", "-f", f"{work}/gnu.tar", "-C", f"{work}/tree", ".")
    thaw.ok("archive", "get", f"{work}/gnu.tar", f"{work}/got")
    assert_same(f"{work}/tree", f"{work}/got")
    assert thaw.ok("archive", "import", f"{work}/gnu.tar", "k")["snapshot"] == thaw.save("o", f"{work}/tree")["snapshot"]

    # The one second of which libarchive cannot say a part.
    write(f"{work}/last/f", b"x", mtime_ns=-500_000_000)
    thaw.ok("archive", "put", f"{work}/last", f"{work}/last.tar")
    thaw.ok("archive", "get", f"{work}/last.tar", f"{work}/got")
    assert os.stat(f"{work}/got/f").st_mtime_ns == -1_000_000_000


def test_compression_is_told_by_content(thaw, work):
    data = archive(file(b"a", b"x"))
    for name, packed in (("plain.tgz", data), ("gzip.tar", gzip.compress(data)), ("xz.zst", lzma.compress(data)),
                         ("members", gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(1000))):
        write(f"{work}/{name}", packed)
        thaw.ok("archive", "get", f"{work}/{name}", f"{work}/out")
        assert os.listdir(f"{work}/out") == ["a"]


# ------------------------------------------------------------------------------------------------- get

def test_strip_components(thaw, work):
    write(f"{work}/archive", archive(file(b"top/a", b"x"), file(b"top/d/b", b"y"), file(b"alone", b"z"),
                                     hard_link(b"top/c", b"top/a")))
    answer = thaw.ok("archive", "get", f"{work}/archive", f"{work}/out", "--strip-components", "1")
    assert answer["passed_over"] == 1
    assert sorted(os.listdir(f"{work}/out")) == ["a", "c", "d"]
    assert os.stat(f"{work}/out/a").st_nlink == 2
    # What leaves nothing takes nothing away.
    thaw.fails(1, "archive", "get", f"{work}/archive", f"{work}/out", "--strip-components", "9")
    assert sorted(os.listdir(f"{work}/out")) == ["a", "c", "d"]


def test_modes(thaw, work):
    write(f"{work}/archive", archive(file(b"a", b"new"), file(b"d/b", b"new"), file(b"t/x", b"new")))
    for mode, left in (("replace", []), ("merge", ["d/extra", "extra"]), ("sync", [])):
        out = f"{work}/{mode}"
        write(f"{out}/extra", b"extra")
        write(f"{out}/d/extra", b"extra")
        write(f"{out}/a", b"old")
        write(f"{out}/t", b"a file where a folder comes")
        answer = thaw.ok("archive", "get", f"{work}/archive", out, "--mode", mode)
        names = sorted(each.decode() for each, _ in describe(out).items() if not os.path.isdir(f"{out}/{each.decode()}"))
        assert names == sorted(["a", "d/b", "t/x"] + left), mode
        with open(f"{out}/a", "rb") as one:
            assert one.read() == b"new"
        assert answer["placement"] == ("swapped" if mode == "replace" else "in_place")
        assert stages_in(out) == []


def test_what_is_not_there_is_a_miss(thaw, s3, work):
    write(f"{work}/out/old", b"old")
    for runner, name in ((thaw, f"{work}/none.tgz"), (s3, object_url(s3, "none.tgz"))):
        answer = runner.fails(3, "archive", "get", name, f"{work}/out")
        assert answer["applied"] is False
        runner.fails(3, "archive", "get", name, f"{work}/new/deep/out")
        assert not os.path.exists(f"{work}/new")
    assert os.listdir(f"{work}/out") == ["old"]


def test_protected_places_are_refused(thaw, work):
    write(f"{work}/archive", archive(file(b"a", b"x")))
    for place in ("/", thaw.home, "."):
        thaw.fails(2, "archive", "get", f"{work}/archive", place)


def test_a_deadline_ends_a_get_and_leaves_the_target(thaw, work):
    """A pipe that nobody writes to is an archive that never comes."""
    os.mkfifo(f"{work}/pipe")
    write(f"{work}/out/old", b"old")
    keep = os.open(f"{work}/pipe", os.O_RDWR)
    os.write(keep, archive(file(b"a", b"x"))[:600])
    began = time.monotonic()
    answer = thaw.fails(1, "--timeout", "500ms", "archive", "get", f"{work}/pipe", f"{work}/out")
    os.close(keep)
    assert time.monotonic() - began < 5
    assert answer["applied"] is False and os.listdir(f"{work}/out") == ["old"]


def test_advisory(thaw, work):
    answer = thaw.run("--advisory", "archive", "get", f"{work}/none.tgz", f"{work}/out")
    assert answer.code == 0 and answer["ok"] is False and answer["reason"] == "miss"


def test_devices_only_when_they_are_allowed(thaw, work, as_root):
    device = tarfile.TarInfo("null")
    device.type, device.devmajor, device.devminor, device.mode = tarfile.CHRTYPE, 1, 3, 0o666
    write(f"{work}/archive", python_tar([(device, b"")]))
    thaw.fails(1, "archive", "get", f"{work}/archive", f"{work}/out")
    thaw.ok("archive", "get", f"{work}/archive", f"{work}/out", "--devices")
    assert os.path.lexists(f"{work}/out/null")


# ------------------------------------------------------------------------------------------------- put

def test_policy(thaw, s3, work):
    for runner, name in ((thaw, f"{work}/a.tgz"), (s3, object_url(s3, "a.tgz"))):
        big = f"{work}/big"
        write(f"{big}/file", os.urandom(100_000))
        os.makedirs(f"{work}/empty/folder", exist_ok=True)
        write(f"{work}/small/file", b"x")
        write(f"{work}/zeros/file", bytes(200_000))
        assert runner.fails(4, "archive", "put", f"{work}/empty", name)["reason"] == "empty"
        runner.fails(3, "archive", "get", name, f"{work}/out")
        runner.ok("archive", "put", big, name)
        # What is certain from the listing, and what only the archive's size shows.
        for folder in ("small", "zeros"):
            assert runner.fails(4, "archive", "put", f"{work}/{folder}", name)["reason"] == "shrunken"
        assert runner.fails(4, "archive", "put", f"{work}/empty", name)["reason"] == "empty"
        runner.ok("archive", "get", name, f"{work}/out")
        assert_same(big, f"{work}/out")
        runner.ok("archive", "put", f"{work}/small", name, "--allow-shrink")
        runner.ok("archive", "put", f"{work}/empty", name, "--allow-empty", "--allow-shrink")
    assert s3.client.uploads() == []


def test_a_put_that_fails_leaves_the_old_object_and_no_parts(s3, work):
    url = object_url(s3, "a.tar")
    write(f"{work}/tree/one", os.urandom(30 << 20))
    s3.ok("archive", "put", f"{work}/tree", url)
    before = s3.client.head("a.tar")["etag"]
    write(f"{work}/tree/two", os.urandom(30 << 20))
    # A key that may not be used, half-way: the server fails every part but the first ones.
    s3.fails(1, "--timeout", "1ms", "archive", "put", f"{work}/tree", url)
    process = s3.start("archive", "put", f"{work}/tree", url)
    deadline = time.monotonic() + 20
    while not s3.client.uploads() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0 or s3.client.head("a.tar")["etag"] != before
    assert s3.client.uploads() == []
    if process.returncode != 0:
        assert s3.client.head("a.tar")["etag"] == before


def test_a_local_put_is_whole_or_not_there(thaw, work):
    write(f"{work}/tree/file", os.urandom(5 << 20))
    thaw.fails(1, "--timeout", "1ms", "archive", "put", f"{work}/tree", f"{work}/a.tgz")
    assert not os.path.exists(f"{work}/a.tgz")
    thaw.fails(1, "archive", "put", f"{work}/missing", f"{work}/a.tgz")
    assert sorted(each for each in os.listdir(work) if each.startswith((".thaw", "a."))) == []


def test_words(thaw, work):
    write(f"{work}/tree/a", b"x")
    for words_ in (["put", f"{work}/tree", f"{work}/a.bin"], ["put", f"{work}/tree", "s3://bucket"],
                   ["put", f"{work}/tree", f"{work}/a.tgz", "--level", "99"], ["get", f"{work}/a.tgz"],
                   ["get", f"{work}/a.tgz", f"{work}/out", "--format", "tar"], ["export", "../k", f"{work}/a.tgz"],
                   ["import", f"{work}/a.tgz", "a//b"], ["put", f"{work}/tree", f"{work}/a.tgz", "--prefix", "../x"]):
        thaw.fails(2, "archive", *words_)
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.bin", "--format", "tar.gz", "--level", "1", "--exclude", "b")
    run("gzip", "-t", "--suffix", ".bin", f"{work}/a.bin")


# -------------------------------------------------------------------------------------- import and export

def test_import_gives_the_ids_of_a_save(thaw, work, tree):
    thaw.ok("archive", "put", tree, f"{work}/a.tar.zst")
    imported = thaw.ok("archive", "import", f"{work}/a.tar.zst", "k", "--label", "from=archive")
    saved = thaw.save("other", tree)
    assert imported["snapshot"] == saved["snapshot"] and imported["files"] == saved["files"]
    assert thaw.ok("inspect", "k")["labels"] == {"from": "archive"}
    thaw.restore("k", f"{work}/out")
    assert_same(tree, f"{work}/out")
    assert thaw.ok("archive", "import", f"{work}/a.tar.zst", "k")["reason"] == "unchanged"
    thaw.clean()


STAGE = b".thaw-stage-" + b"0123456789abcdef" * 2


@pytest.mark.parametrize("trick,entries", [
    ("links_of_odd_modes", [folder(b".", mtime=9), symlink(b"l", b"to", mode=0o644), symlink(b"m", b"to", mode=0o000)]),
    ("folders_that_no_entry_names", [file(b"a/b/c/new", b"x", mtime=50), file(b"a/b/old", b"y", mtime=30),
                                     file(b"a/older", b"z", mtime=20)]),
    ("a_folder_that_is_named_late", [file(b"a/b/f", b"x", mtime=50), folder(b"a", mtime=7), file(b"e", b"", mtime=6)]),
    ("folders_of_links", [file(b"a/f", b"x", mtime=50), hard_link(b"b/c/f", b"a/f")]),
    ("before_1970", [file(b"a/f", b"x", mtime=-50)]),
    ("a_staging_folder", [folder(b".", mtime=9), folder(STAGE), file(STAGE + b"/f", b"x"), file(b"d/" + STAGE + b"/g", b"x"),
                          folder(b"d", mtime=8), file(b"f", b"x")]),
    ("a_file_that_is_called_like_one", [folder(b".", mtime=9), file(STAGE, b"x"), file(STAGE + b"0", b"x")]),
])
def test_import_gives_the_ids_of_what_was_got(thaw, work, trick, entries):
    write(f"{work}/archive", archive(*entries))
    for more in ([], ["--strip-components", "1"]) if trick == "folders_that_no_entry_names" else ([],):
        imported = thaw.ok("archive", "import", f"{work}/archive", "k", "--allow-empty", "--allow-shrink", *more)
        got = thaw.ok("archive", "get", f"{work}/archive", f"{work}/out", *more)
        assert got["passed_over"] == imported["passed_over"]
        saved = thaw.save("other", f"{work}/out", "--allow-empty", "--allow-shrink")
        assert imported["content"] == saved["content"]
        if os.geteuid() == 0:
            assert imported["snapshot"] == saved["snapshot"]
    if trick == "folders_that_no_entry_names":
        thaw.ok("archive", "get", f"{work}/archive", f"{work}/out")
        for name in ("", "a", "a/b", "a/b/c"):
            assert os.stat(f"{work}/out/{name}").st_mtime_ns == 50_000_000_000
    assert not os.path.exists(os.fsencode(f"{work}/out/") + STAGE) or trick == "a_file_that_is_called_like_one"


def test_export_is_the_same_each_time(thaw, work, tree):
    thaw.save("k", tree)
    for form in FORMATS:
        seen = set()
        for i, threads in enumerate((1, 2, 4)):
            thaw.ok("--config-json", settings(work, threads), "archive", "export", "k", f"{work}/{i}.{form}")
            with open(f"{work}/{i}.{form}", "rb") as one:
                seen.add(one.read())
        assert len(seen) == 1
        thaw.ok("archive", "get", f"{work}/0.{form}", f"{work}/out")
        assert_same(tree, f"{work}/out")
        # And from another store, laid down otherwise.
        other = Thaw(f"{work}/other-{form}")
        other.ok("archive", "import", f"{work}/0.{form}", "k")
        other.ok("archive", "export", "k", f"{work}/again.{form}")
        with open(f"{work}/again.{form}", "rb") as one:
            assert {one.read()} == seen


def settings(work, threads):
    path = f"{work}/settings-{threads}.json"
    write(path, json.dumps({"limits": {"threads": threads}}).encode())
    return path


def test_import_and_export_in_a_bucket(s3, work, tree):
    s3.ok("archive", "put", tree, object_url(s3, "old.tgz"))
    s3.ok("archive", "import", object_url(s3, "old.tgz"), "k")
    s3.ok("archive", "export", "k@1", object_url(s3, "new.tar.zst"))
    s3.ok("archive", "get", object_url(s3, "new.tar.zst"), f"{work}/out")
    assert_same(tree, f"{work}/out")
    s3.fails(3, "archive", "export", "k@7", object_url(s3, "none.tar"))
    s3.fails(3, "archive", "import", object_url(s3, "none.tar"), "k")


def test_import_has_the_policy_of_a_save(thaw, work):
    write(f"{work}/big", archive(file(b"a", words_of(200_000))))
    write(f"{work}/small", archive(file(b"a", b"x")))
    thaw.ok("archive", "import", f"{work}/big", "k")
    before = thaw.objects("packs")
    assert thaw.fails(4, "archive", "import", f"{work}/small", "k")["reason"] == "shrunken"
    assert thaw.objects("packs") == before
    assert thaw.ok("archive", "import", f"{work}/small", "k", "--allow-shrink")["generation"] == 2


def words_of(size):
    import random
    return words(random.Random(1), size)


def test_large_files_are_imported_in_segments(thaw, work):
    write(f"{work}/tree/large", os.urandom(70 << 20))
    with open(f"{work}/tree/holes", "wb") as out:
        out.truncate(100 << 20)
        out.seek(50 << 20)
        out.write(b"x" * 100_000)
    thaw.ok("archive", "put", f"{work}/tree", f"{work}/a.tar")
    imported = thaw.ok("archive", "import", f"{work}/a.tar", "k")
    assert imported["snapshot"] == thaw.save("other", f"{work}/tree")["snapshot"]
    thaw.restore("k", f"{work}/out")
    assert_same(f"{work}/tree", f"{work}/out")


# ------------------------------------------------------------------------------------- restore --archive

def test_restore_takes_the_archive_until_there_is_a_snapshot(s3, work, tree):
    url = object_url(s3, "cache.tgz")
    s3.fails(3, "restore", "ci/deps", f"{work}/out", "--archive", url)
    s3.ok("archive", "put", tree, url)
    first = s3.restore("ci/deps", f"{work}/out", "--archive", url)
    assert first["hit"] == "archive"
    assert_same(tree, f"{work}/out")
    s3.save("ci/deps", f"{work}/out")
    second = s3.restore("ci/deps", f"{work}/out2", "--archive", url)
    assert second["hit"] == "exact"
    assert_same(tree, f"{work}/out2")


@pytest.mark.slow
def test_memory_is_bounded_both_ways(thaw, work, shipped_memory):
    """2 GB here; docs/benchmarks.md has 10 GB."""
    os.makedirs(f"{work}/tree")
    for i in range(4):
        with open(f"{work}/tree/{i}", "wb") as out:
            for _ in range(128):
                out.write(os.urandom(1 << 20) + bytes(3 << 20))
    for form in ("tar.zst", "tgz"):
        code, answer, mib = thaw.measured("archive", "put", f"{work}/tree", f"{work}/a.{form}")
        assert code == 0 and mib < 256, (answer, mib)
        code, answer, mib = thaw.measured("archive", "get", f"{work}/a.{form}", f"{work}/out")
        assert code == 0 and mib < 256, (answer, mib)
        shutil.rmtree(f"{work}/out")
        os.unlink(f"{work}/a.{form}")
