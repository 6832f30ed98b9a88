"""Archives that lie, each named after its trick: none writes outside DIR, none crashes, hangs or fills memory, each
that is refused says which entry it is, and leaves DIR as it was."""

import gzip
import lzma
import os
import resource
import struct
import subprocess
import zlib

import pytest

from archives import (archive, attribute, file, folder, gnu_long, hard_link, header, padded, pax, raw_pax, record,
                      symlink)
from driver import stages_in
from trees import assert_same, describe, write

pytestmark = pytest.mark.asan

MIB = 1 << 20


def gz(data):
    return gzip.compress(data, 1, mtime=0)


def zst(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def zeros_gz(megabytes):
    """A gzip stream of zeros, a thousandth as long."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(megabytes)) + packer.flush()


def sparse_map(*numbers):
    return b"".join(b"%d\n" % each for each in numbers)


def gnu_sparse_1_0(name, real_size, numbers, data=b"", declared=None):
    body = padded(sparse_map(*numbers)) + data
    return (pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
                (b"GNU.sparse.realsize", b"%d" % real_size))
            + header(b"GNUSparseFile.0/" + name[:50], size=len(body) if declared is None else declared) + padded(body))


GOOD = file(b"good", b"good")

# The trick: (the archive, what the message holds).
REFUSED = {
    "dot_dot": (archive(GOOD, file(b"../evil", b"x")), "../evil"),
    "dot_dot_in_the_middle": (archive(GOOD, file(b"a/../../evil", b"x")), "a/../../evil"),
    "dot_dot_at_the_end": (archive(GOOD, folder(b"a/..")), "a/.."),
    "dot_dot_alone": (archive(GOOD, folder(b"..")), ".."),
    "dot_dot_behind_a_slash": (archive(GOOD, file(b"/../evil", b"x")), "/../evil"),
    "dot_dot_in_a_pax_path": (archive(GOOD, pax((b"path", b"../evil")), file(b"fine", b"x")), "../evil"),
    "dot_dot_in_a_gnu_long_name": (archive(GOOD, gnu_long(b"../" * 50 + b"evil"), file(b"fine", b"x")), "../"),
    "dot_dot_in_the_ustar_prefix": (archive(GOOD, file(b"evil", b"x", prefix=b"a/../..")), "evil"),
    "file_below_a_symlink": (archive(symlink(b"way", b"/tmp"), file(b"way/evil", b"x")), "way/evil"),
    "file_below_a_relative_symlink": (archive(symlink(b"way", b".."), file(b"way/evil", b"x")), "way/evil"),
    "folder_below_a_symlink": (archive(symlink(b"way", b"/tmp"), folder(b"way/evil")), "way/evil"),
    "symlink_below_a_symlink": (archive(symlink(b"a", b".."), symlink(b"a/b", b"..")), "a/b"),
    "hard_link_below_a_symlink": (archive(GOOD, symlink(b"way", b".."), hard_link(b"way/evil", b"good")), "way/evil"),
    "symlink_chain": (archive(symlink(b"a", b"b"), symlink(b"b", b".."), file(b"a/evil", b"x")), "a/evil"),
    "folder_becomes_a_symlink": (archive(folder(b"d"), symlink(b"d", b"/tmp"), file(b"d/evil", b"x")), "entry d"),
    "file_becomes_a_parent": (archive(file(b"d", b"x"), file(b"d/evil", b"x")), "d/evil"),
    "fifo_becomes_a_parent": (archive(header(b"p", kind=b"6"), file(b"p/evil", b"x")), "p/evil"),
    "hard_link_to_the_outside": (archive(GOOD, hard_link(b"shadow", b"/etc/shadow")), "shadow"),
    "hard_link_that_climbs": (archive(GOOD, hard_link(b"shadow", b"../../etc/shadow")), "shadow"),
    "hard_link_through_a_symlink": (archive(symlink(b"etc", b"/etc"), hard_link(b"evil", b"etc/passwd")), "evil"),
    "hard_link_to_nothing": (archive(GOOD, hard_link(b"evil", b"missing")), "evil"),
    "hard_link_to_a_folder": (archive(folder(b"d"), hard_link(b"evil", b"d")), "evil"),
    "hard_link_to_the_root": (archive(GOOD, hard_link(b"evil", b".")), "evil"),
    "hard_links_in_a_circle": (archive(GOOD, hard_link(b"a", b"b"), hard_link(b"b", b"c"), hard_link(b"c", b"a")),
                               "leads to itself"),
    "hard_link_to_a_later_folder": (archive(GOOD, hard_link(b"evil", b"d"), folder(b"d")), "evil"),
    "character_device": (archive(GOOD, header(b"null", kind=b"3", device=(1, 3))), "null"),
    "block_device": (archive(GOOD, header(b"disk", kind=b"4", device=(8, 0))), "disk"),
    "file_without_a_name": (archive(GOOD, file(b"", b"x")), "name"),
    "file_called_dot": (archive(GOOD, file(b".", b"x")), "entry ."),
    "symlink_to_nothing": (archive(GOOD, symlink(b"void", b"")), "void"),
    "symlink_with_a_long_target": (archive(GOOD, pax((b"linkpath", b"t" * 5000)), symlink(b"long", b"t")), "long"),
    "name_of_300_bytes": (archive(GOOD, gnu_long(b"n" * 300), file(b"n", b"x")), "nnn"),
    "two_thousand_folders_deep": (archive(GOOD, pax((b"path", b"d/" * 2000 + b"f")), file(b"f", b"x")), "d/d/d"),
    "folder_over_its_own_child": (archive(file(b"d/f", b"x"), file(b"d", b"x")), "entry d"),
    "header_with_a_wrong_checksum": (archive(GOOD, file(b"bad", b"x", checksum=1)), "good"),
    "size_larger_than_the_archive": (archive(GOOD, header(b"long", size=1 << 30)), "long"),
    "size_of_eight_exabytes": (archive(GOOD, header(b"long", size=(1 << 63) - 1)), ""),
    "size_below_zero": (archive(GOOD, header(b"minus", size=-5)), ""),
    "pax_size_beyond_the_stream": (archive(GOOD, pax((b"size", b"99999999999999")), file(b"f", b"x")), ""),
    "pax_header_of_a_gigabyte": (archive(GOOD)[:-1024] + header(b"P", kind=b"x", size=1 << 30) + bytes(4096), ""),
    "gnu_long_name_of_a_gigabyte": (archive(GOOD)[:-1024] + header(b"L", kind=b"L", size=1 << 30) + bytes(4096), ""),
    "a_hundred_headers_before_one_file": (archive(GOOD, *[pax((b"comment", b"c"))] * 100, file(b"f", b"x")), ""),
    "sparse_data_past_the_end": (archive(GOOD, gnu_sparse_1_0(b"s", 1000, [1, 5000, 512], bytes(512))), ""),
    "sparse_runs_that_go_back": (archive(GOOD, gnu_sparse_1_0(b"s", 9000, [2, 4096, 512, 0, 512], bytes(1024))), ""),
    "sparse_map_cut_off": (archive(GOOD, gnu_sparse_1_0(b"s", 9000, [1000, 0, 512])), ""),
    "sparse_map_of_letters": (archive(GOOD, pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                                                (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"10")),
                                      file(b"s", b"x" * 512)), ""),
    "sparse_map_of_gigabytes": (None, ""),
    "cut_off_between_entries": (GOOD + file(b"last", b"x"), "last"),
    "cut_off_behind_zeros": (GOOD + file(b"zeros", bytes(4096)), "zeros"),
    "cut_off_in_a_header": ((GOOD + file(b"last", b"x"))[:1200], "good"),
    "cut_off_in_a_file": (GOOD + header(b"long", size=5000) + b"x" * 1000, "long"),
    "garbage_after_the_end": (archive(GOOD) + b"garbage" * 100, ""),
    "nothing_at_all": (b"", "nothing"),
    "only_an_end_mark": (archive(), "no entries"),
    "not_an_archive": (b"PK\3\4" + os.urandom(2000), "no tar archive"),
    "text": (b"Not Found\n" * 100, "no tar archive"),
    "gzip_cut_off": (gz(archive(GOOD, file(b"f", os.urandom(5000))))[:-300], "gzip"),
    "gzip_with_a_wrong_checksum": (gz(archive(GOOD))[:-8] + b"\1\2\3\4" + gz(archive(GOOD))[-4:], "gzip"),
    "gzip_followed_by_garbage": (gz(archive(GOOD)) + b"garbage", "gzip"),
    "gzip_header_alone": (b"\x1f\x8b\x08\0\0\0\0\0\0\3", "gzip"),
    "gzip_of_nothing": (gz(b""), "nothing"),
    "zstd_cut_off": (zst(archive(GOOD, file(b"f", os.urandom(5000))))[:-300], "zstd"),
    "zstd_with_a_changed_byte": (None, "zstd"),
    "zstd_window_of_two_gigabytes": (b"\x28\xb5\x2f\xfd" + b"\x00" + b"\xa8" + b"\x01\x00\x00", "128 MiB"),
    "xz_cut_off": (lzma.compress(archive(GOOD, file(b"f", os.urandom(5000))))[:-300], "xz"),
    "xz_dictionary_of_a_gigabyte": (None, "128 MiB"),
    "xz_with_a_changed_byte": (None, "xz"),
    "forty_thousand_links_before_targets": (None, ""),
    "capabilities_that_are_none": (archive(GOOD, attribute(b"security.capability", b"junk"), file(b"caps", b"x")),
                                   "entry caps: its attribute security.capability"),
    "capabilities_of_no_namespace": (archive(GOOD, attribute(b"security.capability", struct.pack(
        "<6I", 0x03000000, 1, 0, 0, 0, 0xffffffff)), file(b"caps", b"x")), "entry caps"),
    "access_list_of_letters": (archive(GOOD, attribute(b"system.posix_acl_access", b"user::rwx"), file(b"acl", b"x")),
                               "entry acl"),
    "access_list_without_an_owner": (archive(GOOD, attribute(b"system.posix_acl_default", struct.pack(
        "<IHHI", 2, 32, 7, 0)), folder(b"acl")), "entry acl"),
    "attribute_of_more_than_64_KiB": (archive(GOOD, attribute(b"user.large", b"x" * 65537), file(b"large", b"x")),
                                      "entry large"),
    "attributes_of_more_than_128_KiB": (archive(GOOD, pax(*[(b"SCHILY.xattr.user.%d" % i, b"x" * 60000)
                                                            for i in range(3)]), file(b"large", b"x")), "large"),
    "pax_record_without_a_length": (archive(GOOD, raw_pax(b"path=evil\n"), file(b"f", b"x")), "entry f"),
    "pax_record_without_an_equals_sign": (archive(GOOD, raw_pax(b"8 size5\n"), file(b"f", b"x")), "entry f"),
    "pax_record_without_a_key": (archive(GOOD, raw_pax(b"5 =1\n"), file(b"f", b"x")), "pax header"),
    "pax_record_without_its_newline": (archive(GOOD, raw_pax(b"9 path=ab"), file(b"f", b"x")), "entry f"),
    "pax_record_longer_than_its_header": (archive(GOOD, raw_pax(b"99 path=evil\n"), file(b"f", b"x")), "entry f"),
    "pax_record_of_a_huge_length": (archive(GOOD, raw_pax(b"9" * 30 + b" path=evil\n"), file(b"f", b"x")), "entry f"),
    "pax_record_of_a_negative_length": (archive(GOOD, raw_pax(b"-13 path=evil\n"), file(b"f", b"x")), "entry f"),
    "pax_record_cut_off": (archive(GOOD, raw_pax(record(b"path", b"evil")[:-3]), file(b"f", b"x")), "entry f"),
    "pax_header_filled_up_with_zeros": (archive(GOOD, raw_pax(record(b"path", b"f") + bytes(20)), file(b"evil", b"x")),
                                        "entry evil"),
    "pax_size_that_is_no_number": (archive(GOOD, pax((b"size", b"many")), header(b"f", size=5)), "entry f"),
    "pax_time_that_is_no_number": (archive(GOOD, pax((b"mtime", b"soon")), file(b"f", b"x")), "entry f"),
    "pax_name_with_a_zero_byte": (archive(GOOD, pax((b"path", b"f\0evil")), file(b"f", b"x")), "entry f"),
    "malformed_global_header": (archive(raw_pax(b"comment=x\n", kind=b"g"), GOOD), "entry good"),
    "global_header_with_a_name": (archive(pax((b"path", b"evil"), kind=b"g"), GOOD), "entry good"),
    "global_header_with_a_size": (archive(pax((b"size", b"4096"), kind=b"g"), GOOD), "entry good"),
}


def changed(data, place):
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1:]


def made(trick):
    """Those that take time to make, when they are wanted."""
    if trick == "sparse_map_of_gigabytes":
        # A header that asks for two thousand million pieces, compressed to a few hundred KiB.
        start = (GOOD + pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"s"),
                            (b"GNU.sparse.realsize", b"9999999999999"))
                 + header(b"s", size=8 << 30) + b"2000000000\n")
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        lines = b"0\n0\n" * (MIB // 4)
        return packer.compress(start) + b"".join(packer.compress(lines) for _ in range(200)) + packer.flush()
    if trick == "zstd_with_a_changed_byte":
        data = zst(archive(GOOD, file(b"f", os.urandom(50000))))
        return changed(data, len(data) // 2)
    if trick == "xz_with_a_changed_byte":
        data = lzma.compress(archive(GOOD, file(b"f", os.urandom(50000))))
        return changed(data, len(data) // 2)
    if trick == "xz_dictionary_of_a_gigabyte":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
        data = bytearray(lzma.compress(archive(GOOD), format=lzma.FORMAT_XZ, filters=filters))
        # The block's header: its size, flags, the filter's id, the size of its property, the dictionary.
        assert data[14] == 0x21
        data[16] = 36
        data[12 + (data[12] + 1) * 4 - 4:12 + (data[12] + 1) * 4] = struct.pack(
            "<I", zlib.crc32(bytes(data[12:12 + (data[12] + 1) * 4 - 4])))
        return bytes(data)
    if trick == "forty_thousand_links_before_targets":
        target = b"t/" * 900 + b"x"
        return gz(archive(GOOD, *[pax((b"linkpath", target)) + hard_link(b"l%d" % i, b"t") for i in range(40000)]))
    raise AssertionError(trick)


@pytest.fixture
def place(work):
    """DIR with something in it, in a folder of its own where anything new would show."""
    write(f"{work}/place/dir/old", b"old")
    write(f"{work}/place/outside", b"outside")
    return f"{work}/place"


def limited():
    # The largest of them wants gigabytes. A sanitizer maps terabytes, so it is not limited.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 33, 1 << 33))


def refused(thaw, *words, **kw):
    answer = thaw.run("archive", *words, **kw)
    assert answer.code == {"corrupt": 1, "exhausted": 4}.get(answer["reason"]), answer
    return answer


@pytest.mark.parametrize("trick", sorted(REFUSED))
def test_is_refused(thaw, work, place, trick):
    data, message = REFUSED[trick]
    write(f"{work}/archive", made(trick) if data is None else data)
    before = describe(place, root_too=False)
    answer = refused(thaw, "get", f"{work}/archive", f"{place}/dir", preexec_fn=limited)
    assert message in answer["message"], answer
    assert answer["applied"] is False
    assert_same(before, place, root_too=False)
    assert stages_in(place) == []

    refused(thaw, "import", f"{work}/archive", "k")
    assert thaw.ok("ls")["keys"] == [] and thaw.objects("packs") == []


def test_there_are_forty_tricks():
    assert len(REFUSED) >= 40


# What looks like a trick and is none: read as tar reads it, and inside DIR.
HARMLESS = {
    "absolute_name": (archive(file(b"/etc/evil", b"x")), {"etc/evil": b"x"}),
    "many_slashes": (archive(file(b"///a////b", b"x")), {"a/b": b"x"}),
    "dots": (archive(file(b"./a/././b", b"x")), {"a/b": b"x"}),
    "name_with_three_dots": (archive(file(b".../..a", b"x")), {".../..a": b"x"}),
    "name_twice": (archive(file(b"a", b"first"), file(b"a", b"second")), {"a": b"second"}),
    "name_a_hundred_times": (archive(*[file(b"a", b"%d" % i) for i in range(100)]), {"a": b"99"}),
    "symlink_then_file": (archive(symlink(b"a", b"/etc/passwd"), file(b"a", b"x")), {"a": b"x"}),
    "file_then_folder": (archive(file(b"a", b"x"), folder(b"a"), file(b"a/b", b"y")), {"a/b": b"y"}),
    "hard_link_then_its_target_again": (
        archive(file(b"a", b"first"), hard_link(b"b", b"a"), file(b"a", b"second")), {"a": b"second", "b": b"first"}),
    "hard_link_to_itself": (archive(file(b"a", b"x"), hard_link(b"a", b"a")), {"a": b"x"}),
    "hard_link_to_an_absolute_name": (archive(file(b"a", b"x"), hard_link(b"b", b"/a")), {"a": b"x", "b": b"x"}),
    "hard_links_before_their_target": (
        archive(hard_link(b"c", b"b"), hard_link(b"b", b"a"), file(b"a", b"x")), {"a": b"x", "b": b"x", "c": b"x"}),
    "link_before_its_target_then_a_file": (
        archive(hard_link(b"b", b"a"), file(b"b", b"own"), file(b"a", b"x")), {"a": b"x", "b": b"own"}),
    "names_that_differ_in_case": (archive(file(b"Readme", b"1"), file(b"README", b"2")), {"Readme": b"1", "README": b"2"}),
    "newline_in_a_name": (archive(file(b"a\nb", b"x")), {"a\nb": b"x"}),
    "two_archives": (archive(file(b"a", b"x")) + archive(file(b"b", b"y")), {"a": b"x", "b": b"y"}),
    "old_v7_archive": (archive(file(b"a", b"x", magic=b"\0" * 8)), {"a": b"x"}),
    "global_header_of_git": (archive(pax((b"comment", b"0" * 40), kind=b"g"), file(b"a", b"x")), {"a": b"x"}),
    "pax_header_of_many_blocks": (archive(pax((b"comment", b"c" * 900_000), (b"path", b"b")), file(b"a", b"x")),
                                  {"b": b"x"}),
    "attribute_name_of_300_bytes": (archive(attribute(b"user." + b"n" * 300, b"x"), file(b"a", b"x")), {"a": b"x"}),
    "attribute_without_a_namespace": (archive(attribute(b"com.apple.quarantine", b"x"), file(b"a", b"x")), {"a": b"x"}),
    "attribute_of_a_bare_namespace": (archive(attribute(b"user.", b"x"), file(b"a", b"x")), {"a": b"x"}),
    "time_before_1970": (archive(file(b"a", b"x", mtime=-5)), {"a": b"x"}),
}


@pytest.mark.parametrize("trick", sorted(HARMLESS))
def test_is_read(thaw, work, place, trick):
    data, files = HARMLESS[trick]
    write(f"{work}/archive", data)
    thaw.ok("archive", "get", f"{work}/archive", f"{place}/dir")
    found = {}
    for folder_name, _, names in os.walk(f"{place}/dir"):
        for name in names:
            with open(f"{folder_name}/{name}", "rb") as one:
                found[os.path.relpath(f"{folder_name}/{name}", f"{place}/dir")] = one.read()
    assert found == files
    assert sorted(os.listdir(place)) == ["dir", "outside"]

    thaw.ok("archive", "import", f"{work}/archive", "k")
    thaw.restore("k", f"{work}/restored")
    skip = {}
    assert_same(f"{place}/dir", f"{work}/restored", times=False, **skip)


def test_names_of_one_file_on_a_case_folding_filesystem(thaw, work):
    """Where the filesystem cannot tell names apart, the archive is refused and names the second."""
    target = f"{work}/folding"
    os.mkdir(target)
    if subprocess.run(["chattr", "+F", target], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("no filesystem here that folds case")
    write(f"{work}/archive", archive(file(b"Readme", b"1"), file(b"README", b"2")))
    answer = thaw.fails(1, "archive", "get", f"{work}/archive", f"{target}/dir")
    assert "README" in answer["message"]


def test_attributes_that_no_save_keeps_are_counted(thaw, work):
    write(f"{work}/archive", archive(
        pax((b"SCHILY.xattr.user." + b"n" * 300, b"x"), (b"SCHILY.xattr.com.apple.quarantine", b"x")), file(b"a", b"x"),
        attribute(b"security.selinux", b"x"), folder(b"d"), attribute(b"user.a", b"x"), symlink(b"l", b"a")))
    answer = thaw.ok("archive", "import", f"{work}/archive", "k")
    assert answer["attributes_skipped"] == 4 and b"4 extended attributes" in answer.err
    assert thaw.restore("k", f"{work}/restored")["attributes_skipped"] == 0
    answer = thaw.ok("archive", "get", f"{work}/archive", f"{work}/out")
    assert answer["attributes_skipped"] == 4 and b"4 extended attributes" in answer.err


def test_long_names_are_shortened_in_messages(thaw, work):
    write(f"{work}/archive", archive(pax((b"path", b"n" * 200_000)), header(b"n")))
    for words in (("get", f"{work}/archive", f"{work}/out"), ("import", f"{work}/archive", "k")):
        assert len(refused(thaw, *words)["message"]) < 1000
    write(f"{work}/archive", archive(pax((b"path", b"./" * 100_000 + b"a")), header(b"n"), b"x" * 512))
    answer = refused(thaw, "get", f"{work}/archive", f"{work}/out")
    assert "after " in answer["message"] and len(answer["message"]) < 1000


@pytest.mark.parametrize("device", [(4096, 0), (0, 1 << 20), (1 << 50, 1)])
def test_devices_that_no_system_has(thaw, work, device):
    write(f"{work}/archive", archive(GOOD, header(b"dev", kind=b"3", device=device)))
    for words in (("get", f"{work}/archive", f"{work}/out"), ("import", f"{work}/archive", "k")):
        answer = refused(thaw, *words, "--devices")
        assert "entry dev" in answer["message"], answer


def packed(parts):
    """A tgz of what comes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(part) for part in parts) + packer.compress(archive()) + packer.flush()


def attributes_of(count, size=60_000):
    """Files with attributes, each with others."""
    for i in range(count):
        yield attribute(b"user.a", b"%08d" % i + b"x" * size) + file(b"f%d" % i, b"")


# What would have to be held until the end: (the trick, the words that it is one for).
FILLS_MEMORY = {
    "attributes": (lambda: attributes_of(12_000), ["import"]),
    "one_attribute_on_all": (lambda: (attribute(b"user.a", b"x" * 60_000) + file(b"f%d" % i, b"")
                                      for i in range(19_000)), ["import"]),
    "attributes_of_folders": (lambda: (attribute(b"user.a", b"%d" % i + b"x" * 60_000) + folder(b"d%d" % i)
                                       for i in range(2500)), ["import", "get"]),
    "link_targets": (lambda: (pax((b"linkpath", b"%08d" % i + b"t" * 4000)) + symlink(b"l%d" % i, b"t")
                              for i in range(30_000)), ["import"]),
    "links_before_their_targets": (lambda: (pax((b"linkpath", b"%08d/" % i + b"t/" * 1000 + b"t"))
                                            + hard_link(b"l%d" % i, b"t") for i in range(60_000)), ["import", "get"]),
    "long_names": (lambda: (pax((b"path", b"%08d" % i + b"n" * 247)) + header(b"n") for i in range(400_000)),
                   ["import", "get"]),
    "one_entry_again_and_again": (lambda: (header(b"a") * 1000 for _ in range(3000)), ["import"]),
    "owners": (lambda: (header(b"%d" % i, uid=i) for i in range(66_000)), ["import"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("trick", sorted(FILLS_MEMORY))
def test_memory_stays_when_metadata_grows(thaw, work, shipped_memory, trick):
    parts, words = FILLS_MEMORY[trick]
    write(f"{work}/archive", packed(parts()))
    for word in words:
        code, answer, mib = thaw.measured("archive", word, f"{work}/archive", "k" if word == "import" else f"{work}/out")
        assert code == 4 and answer["reason"] == "exhausted", answer
        assert "entry " in answer["message"], answer
        assert mib < 256, f"{mib} MiB for {word}"
    assert not os.path.exists(f"{work}/out")


@pytest.mark.slow
def test_memory_of_much_metadata_that_is_taken(thaw, work, shipped_memory):
    """As much as the caps let pass; and what all files have alike is held once."""
    write(f"{work}/archive", packed(attributes_of(1_500)))
    for words in (("archive", "import", f"{work}/archive", "k"), ("restore", "k", f"{work}/out"),
                  ("archive", "get", f"{work}/archive", f"{work}/got"), ("archive", "export", "k", f"{work}/a.tar")):
        code, answer, mib = thaw.measured(*words)
        assert code == 0 and mib < 512, (words, answer, mib)
    write(f"{work}/alike", packed(attribute(b"user.a", b"x" * 60_000) + file(b"f%d" % i, b"") for i in range(10_000)))
    for words in (("archive", "import", f"{work}/alike", "alike"), ("archive", "get", f"{work}/alike", f"{work}/got")):
        code, answer, mib = thaw.measured(*words)
        assert code == 0 and mib < 128, (words, answer, mib)


@pytest.mark.slow
def test_memory_stays_when_a_bomb_goes_off(thaw, work, shipped_memory):
    """A gigabyte of zeros in a file of one MB, as data and as names."""
    size = 1 << 30
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(header(b"zeros", size=size))
    data += b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.compress(bytes(1024))
    write(f"{work}/archive", data + packer.flush())
    code, answer, mib = thaw.measured("archive", "import", f"{work}/archive", "k")
    assert code == 0, answer
    assert mib < 256, f"{mib} MiB"
