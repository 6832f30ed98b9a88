#include "archive/attribute_rules.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/bytes.h"
#include "support/result_check.h"

namespace thaw::archive {
namespace {

using test::fails_with;
using test::is_ok;

Result<> check(const std::string& name, const std::string& value) {
  return check_attributes({{name, value}});
}

std::string words(const std::vector<uint32_t>& values) {
  ByteVector bytes;
  for (const uint32_t value : values) append_le(bytes, value);
  return std::string(as_text(bytes.view()));
}

struct AclEntry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = UINT32_MAX;
};

std::string acl(const std::vector<AclEntry>& entries, uint32_t version = 2) {
  ByteVector bytes;
  append_le(bytes, version);
  for (const AclEntry& entry : entries) {
    append_le(bytes, entry.tag);
    append_le(bytes, entry.permissions);
    append_le(bytes, entry.id);
  }
  return std::string(as_text(bytes.view()));
}

TEST(AttributeRules, UserAttributesAreWhatTheyLike) {
  EXPECT_TRUE(is_ok(check("user.a", "")));
  EXPECT_TRUE(is_ok(check("user.a", std::string(65536, 'x'))));
  EXPECT_TRUE(fails_with(Code::corrupt, check("user.a", std::string(65537, 'x'))));
}

TEST(AttributeRules, Capabilities) {
  const std::string name = "security.capability";
  EXPECT_TRUE(is_ok(check(name, words({0x02000001, 1, 0, 0, 0}))));
  EXPECT_TRUE(is_ok(check(name, words({0x03000000, 1, 0, 0, 0, 1000}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, "")));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, "junk")));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x01000000, 1, 0}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x02000000, 1, 0, 0}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x02000000, 1, 0, 0, 0, 0}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x03000000, 1, 0, 0, 0, UINT32_MAX}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x04000000, 1, 0, 0, 0}))));
  EXPECT_TRUE(fails_with(Code::corrupt, check(name, words({0x02000002, 1, 0, 0, 0}))));
}

TEST(AttributeRules, AccessLists) {
  const std::string name = "system.posix_acl_access";
  EXPECT_TRUE(is_ok(check(name, acl({{1, 6}, {4, 4}, {32, 0}}))));
  EXPECT_TRUE(is_ok(
      check(name, acl({{1, 6}, {2, 4, 1000}, {2, 4, 5}, {4, 4}, {8, 7, 0}, {16, 7}, {32, 0}}))));
  const std::vector<std::string> refused = {
      "",
      acl({}),
      acl({{1, 6}, {4, 4}, {32, 0}}, 1),
      acl({{1, 6}, {4, 4}, {32, 0}}) + "x",
      acl({{1, 6}, {4, 4}}),
      acl({{4, 6}, {1, 4}, {32, 0}}),
      acl({{1, 8}, {4, 4}, {32, 0}}),
      acl({{1, 6}, {1, 6}, {4, 4}, {32, 0}}),
      acl({{1, 6}, {2, 4, 5}, {4, 4}, {32, 0}}),
      acl({{1, 6}, {2, 4}, {4, 4}, {16, 7}, {32, 0}}),
      acl({{1, 6}, {3, 6}, {4, 4}, {32, 0}}),
  };
  for (const std::string& value : refused) {
    EXPECT_TRUE(fails_with(Code::corrupt, check(name, value)));
    EXPECT_TRUE(fails_with(Code::corrupt, check("system.posix_acl_default", value)));
  }
}

TEST(AttributeRules, WhatATypeCannotHaveIsDropped) {
  const XattrSet all = {{"security.capability", "x"},
                        {"system.posix_acl_access", "x"},
                        {"system.posix_acl_default", "x"},
                        {"trusted.a", "x"},
                        {"user.a", "x"}};
  const auto left = [&](uint32_t type) {
    XattrSet set = all;
    const uint32_t dropped = drop_impossible(set, type | 0644);
    EXPECT_EQ(set.size() + dropped, all.size());
    return set.size();
  };
  EXPECT_EQ(left(S_IFDIR), 5U);
  EXPECT_EQ(left(S_IFREG), 4U);
  EXPECT_EQ(left(S_IFIFO), 3U);
  EXPECT_EQ(left(S_IFLNK), 2U);
}

}  // namespace
}  // namespace thaw::archive
