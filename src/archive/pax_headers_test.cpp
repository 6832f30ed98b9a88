#include "archive/pax_headers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "support/result_check.h"

namespace thaw::archive {
namespace {

using test::fails_with;
using test::is_ok;
using namespace std::string_literals;

std::string header(char type, size_t size) {
  std::string block(512, '\0');
  block.replace(0, 4, "name");
  block.replace(124, 11, fmt::format("{:011o}", size));
  block[156] = type;
  return block;
}

std::string with_body(char type, const std::string& body) {
  return header(type, body.size()) + body + std::string((512 - body.size() % 512) % 512, '\0');
}

std::string record(const std::string& text) {
  size_t length = text.size() + 2;
  while (std::to_string(length).size() + text.size() + 2 != length) ++length;
  return std::to_string(length) + " " + text + "\n";
}

std::string pax(const std::string& text, char type = 'x') { return with_body(type, record(text)); }

const std::string kFile = header('0', 0);
const std::string kEnd(1024, '\0');

Result<PaxRecords> read(const std::string& blocks) { return PaxHeaders().read(as_bytes(blocks)); }

int64_t time_of(const std::string& text) {
  const auto records = read(pax("mtime=" + text) + kFile);
  EXPECT_TRUE(is_ok(records)) << text;
  return records && records->mtime_ns ? *records->mtime_ns : -1;
}

TEST(PaxHeaders, TimesOnBothSidesOf1970) {
  EXPECT_EQ(time_of("1.5"), 1'500'000'000);
  EXPECT_EQ(time_of("0"), 0);
  EXPECT_EQ(time_of("12."), 12'000'000'000);
  EXPECT_EQ(time_of("-1.5"), -1'500'000'000);
  EXPECT_EQ(time_of("-0.25"), -250'000'000);
  EXPECT_EQ(time_of("-2"), -2'000'000'000);
  EXPECT_EQ(time_of("1.123456789999"), 1'123'456'789);
  EXPECT_GT(time_of("99999999999999999999"), 9'000'000'000'000'000'000);
  EXPECT_LT(time_of("-99999999999999999999"), -9'000'000'000'000'000'000);
}

TEST(PaxHeaders, TimesWithAnExponent) {
  EXPECT_EQ(time_of("5e-05"), 50'000);
  EXPECT_EQ(time_of("-5e-05"), -50'000);
  EXPECT_EQ(time_of("1.5e9"), 1'500'000'000'000'000'000);
  EXPECT_EQ(time_of("1.25E+1"), 12'500'000'000);
  EXPECT_EQ(time_of("123e-2"), 1'230'000'000);
  EXPECT_EQ(time_of("12.5e0"), 12'500'000'000);
  EXPECT_EQ(time_of("1e-99999999999999999999"), 0);
  EXPECT_GT(time_of("1e308"), 9'000'000'000'000'000'000);
  for (const char* text : {"e5", "1e", "1e+", "1e+-5", "1e5.0", "1e5e5", "--1", ".5", "1.-5"}) {
    EXPECT_TRUE(fails_with(Code::corrupt, read(pax("mtime="s + text) + kFile))) << text;
  }
}

TEST(PaxHeaders, NamesOfAttributes) {
  EXPECT_EQ(attribute_name("user.sp%20ace"), "user.sp ace");
  EXPECT_EQ(attribute_name("user.a%3Db%3d"), "user.a=b=");
  EXPECT_EQ(attribute_name("user.%2520"), "user.%20");
  EXPECT_EQ(attribute_name("user.p%q%2"), "user.p%q%2");
  const std::string blocks =
      with_body('x', record("SCHILY.xattr.user.a=1=2") + record("SCHILY.xattr.user.b=")) + kFile;
  const auto records = read(blocks);
  ASSERT_TRUE(is_ok(records));
  ASSERT_EQ(records->attributes.size(), 2U);
  EXPECT_EQ(records->attributes[0].name, "user.a");
  EXPECT_EQ(records->attributes[0].value, "1=2");
  EXPECT_EQ(records->attributes[1].value, "");
}

TEST(PaxHeaders, NothingIsSaidWhereThereIsNone) {
  const auto records = read(kFile);
  ASSERT_TRUE(is_ok(records));
  EXPECT_FALSE(records->mtime_ns || records->uid || records->gid);
  EXPECT_TRUE(is_ok(read("")));
  EXPECT_TRUE(is_ok(read(kEnd)));
}

TEST(PaxHeaders, GlobalHeadersHoldUntilTheirArchiveEnds) {
  PaxHeaders headers;
  const std::string first = with_body('g', record("comment=commit 1") + record("uid=7") +
                                               record("gid=8") + record("mtime=9")) +
                            pax("gid=80") + kFile;
  const auto one = headers.read(as_bytes(first));
  ASSERT_TRUE(is_ok(one));
  EXPECT_EQ(one->uid, 7);
  EXPECT_EQ(one->gid, 80);
  EXPECT_EQ(one->mtime_ns, 9'000'000'000);
  const auto two = headers.read(as_bytes(kFile));
  ASSERT_TRUE(is_ok(two));
  EXPECT_EQ(two->gid, 8);
  const auto three = headers.read(as_bytes(kEnd + kFile));
  ASSERT_TRUE(is_ok(three));
  EXPECT_FALSE(three->mtime_ns || three->uid || three->gid);
}

TEST(PaxHeaders, OfTwoRecordsTheLastCounts) {
  const auto records = read(with_body('x', record("uid=1") + record("uid=2")) + kFile);
  ASSERT_TRUE(is_ok(records));
  EXPECT_EQ(records->uid, 2);
}

TEST(PaxHeaders, OtherHeadersAreSteppedOver) {
  const auto records = read(with_body('L', std::string(600, 'n')) + header('V', 0) +
                            with_body('K', "to") + pax("uid=3") + kFile);
  ASSERT_TRUE(is_ok(records));
  EXPECT_EQ(records->uid, 3);
}

TEST(PaxHeaders, WhatFollowsTheEntryIsNotRead) {
  EXPECT_TRUE(is_ok(read(kFile + with_body('x', "junk"))));
}

TEST(PaxHeaders, UnknownRecordsMayHoldAnything) {
  EXPECT_TRUE(is_ok(read(pax("SCHILY.xattr.user.a=\0=\n"s) + kFile)));
  EXPECT_TRUE(is_ok(read(pax("comment=") + kFile)));
  EXPECT_TRUE(is_ok(read(pax("path=") + kFile)));
}

TEST(PaxHeaders, MalformedRecordsAreRefused) {
  const std::string bodies[] = {
      "junk",
      "12",
      "99 uid=1\n",
      "7 uid=1\n",
      "10 uid=1\n\n",
      "5 uid\n6 uid=1\n",
      "6 uid\n",
      "5 =1\n",
      "-9 uid=1\n",
      "9999999999999999999999 uid=1\n",
      "2 \n",
      "9 uid=1\n9 gid=",
      "8 uid=1\n\0\0\0"s,
  };
  for (const std::string& body : bodies) {
    EXPECT_TRUE(fails_with(Code::corrupt, read(with_body('x', body) + kFile))) << body;
    EXPECT_TRUE(fails_with(Code::corrupt, read(with_body('g', body) + kFile))) << body;
  }
}

TEST(PaxHeaders, NumbersThatAreNoneAreRefused) {
  for (const char* text : {"uid=", "uid=x", "gid=1x", "mtime=", "mtime=-", "mtime=.5", "mtime=1.x",
                           "mtime=1.5.5", "mtime=1e", "size=", "size=-1", "size=many",
                           "GNU.sparse.realsize=x", "GNU.sparse.map=1,x"}) {
    EXPECT_TRUE(fails_with(Code::corrupt, read(pax(text) + kFile))) << text;
  }
  EXPECT_TRUE(fails_with(Code::corrupt, read(pax("path=a\0b"s) + kFile)));
}

TEST(PaxHeaders, NoGlobalHeaderSpeaksOfOneFile) {
  for (const char* text : {"path=a", "linkpath=a", "size=5", "GNU.sparse.name=a"}) {
    EXPECT_TRUE(is_ok(read(pax(text) + kFile))) << text;
    EXPECT_TRUE(fails_with(Code::corrupt, read(pax(text, 'g') + kFile))) << text;
  }
}

}  // namespace
}  // namespace thaw::archive
