#include "format/tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "format/limits.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw::test {
namespace {

// check_tree of the sample after `change`.
Result<> check_changed(const std::function<void(Tree&)>& change) {
  Tree tree = sample_tree();
  change(tree);
  return check_tree(tree);
}

Result<> check_node(uint32_t index, const std::function<void(Node&)>& change) {
  return check_changed([&](Tree& tree) { change(tree.nodes[index]); });
}

void rename(Tree& tree, uint32_t index, std::string_view name) {
  tree.nodes[index].name_offset = static_cast<uint32_t>(tree.names.size());
  tree.nodes[index].name_length = static_cast<uint8_t>(name.size());
  tree.names += name;
}

TEST(CheckTreeTest, ValidTrees) {
  EXPECT_TRUE(is_ok(check_tree(sample_tree())));
  EXPECT_TRUE(is_ok(check_tree(empty_tree())));
}

TEST(CheckTreeTest, Root) {
  EXPECT_TRUE(fails_with(Code::corrupt, check_tree({})));
  EXPECT_TRUE(fails_with(Code::corrupt, check_node(0, [](Node& n) { n.parent = 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, check_node(0, [](Node& n) { n.name_length = 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, check_node(0, [](Node& n) { n.link_to = 0; })));
  EXPECT_TRUE(fails_with(Code::corrupt, check_node(0, [](Node& n) { n.payload = 0; })));
  EXPECT_TRUE(fails_with(Code::corrupt, check_node(0, [](Node& n) { n.name_offset = 1000; })));
  Tree file;
  file.contents = {{sha256({}), 0}};
  add_node(file, 0, "", S_IFREG | 0644, 0);
  EXPECT_TRUE(fails_with(Code::corrupt, check_tree(file)));
}

TEST(ShareWithLinksTest, ALinkHasWhatItsFirstNameHas) {
  Tree tree = sample_tree();
  Node& link = tree.nodes[Sample::hard_link];
  link.mode = S_IFREG | 0123;
  link.owner = {77, 78};
  link.mtime_ns = 79;
  link.xattrs = kNone;
  EXPECT_TRUE(fails_with(Code::corrupt, check_tree(tree)));
  share_with_links(tree);
  EXPECT_TRUE(is_ok(check_tree(tree)));
  EXPECT_EQ(ids_of(tree), ids_of(sample_tree()));
}

TEST(CheckTreeTest, Names) {
  const std::string_view refused[] = {"", ".", "..", "a/b", "/", std::string_view("a\0b", 3)};
  for (const std::string_view name : refused) {
    Tree tree = empty_tree();
    add_node(tree, 0, name, S_IFIFO | 0600);
    EXPECT_TRUE(fails_with(Code::corrupt, check_tree(tree))) << name;
  }
  const std::string longest(255, 'n');
  const std::string_view taken[] = {"...", ".a", " ", "\n", "\xff\xfe", "a\\b", longest};
  for (const std::string_view name : taken) {
    Tree tree = empty_tree();
    add_node(tree, 0, name, S_IFIFO | 0600);
    EXPECT_TRUE(is_ok(check_tree(tree))) << name;
  }
  const auto outside = [](uint32_t offset) {
    return check_node(Sample::fifo, [&](Node& n) { n.name_offset = offset; });
  };
  EXPECT_TRUE(fails_with(Code::corrupt, outside(1000)));
  EXPECT_TRUE(fails_with(Code::corrupt, outside(UINT32_MAX)));
}

TEST(CheckTreeTest, CanonicalOrder) {
  const auto order = [](std::initializer_list<const char*> names) {
    Tree tree = empty_tree();
    for (const char* name : names) add_node(tree, 0, name, S_IFDIR | 0755);
    return check_tree(tree);
  };
  EXPECT_TRUE(is_ok(order({"a", "a.", "ab", "b", "\x7f", "\x80"})));
  EXPECT_TRUE(is_ok(order({"B", "a", "aa", "b"})));
  EXPECT_TRUE(fails_with(Code::corrupt, order({"a", "a"})));
  EXPECT_TRUE(fails_with(Code::corrupt, order({"b", "a"})));
  EXPECT_TRUE(fails_with(Code::corrupt, order({"aa", "a"})));
  // Bytes are unsigned.
  EXPECT_TRUE(fails_with(Code::corrupt, order({"\x80", "\x7f"})));
}

TEST(CheckTreeTest, ParentsAreOpenDirectories) {
  // A name of the same sort order elsewhere, so that only the parent is wrong.
  const auto below = [](uint32_t index, uint32_t parent) {
    return check_changed([&](Tree& tree) {
      tree.nodes[index].parent = parent;
      rename(tree, index, "zzz");
    });
  };
  EXPECT_TRUE(is_ok(below(Sample::same_file, 0)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::same_file)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::count)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, kNone)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::fifo)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::symlink)));
  // A directory, but one that was left: not depth-first.
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::dir_sub)));
  EXPECT_TRUE(fails_with(Code::corrupt, below(Sample::same_file, Sample::dir_a)));
}

TEST(CheckTreeTest, ANameMayNotReturnAfterItsDirectory) {
  Tree tree = empty_tree();
  const uint32_t a = add_node(tree, 0, "a", S_IFDIR | 0755);
  add_node(tree, a, "x", S_IFIFO | 0600);
  EXPECT_TRUE(is_ok(check_tree(tree)));
  add_node(tree, 0, "a", S_IFIFO | 0600);
  EXPECT_TRUE(fails_with(Code::corrupt, check_tree(tree)));
}

TEST(CheckTreeTest, Depth) {
  Tree tree = empty_tree();
  for (uint32_t i = 1; i < limits::kDepth; ++i) add_node(tree, i - 1, "d", S_IFDIR | 0755);
  add_node(tree, limits::kDepth - 1, "f", S_IFIFO | 0600);
  EXPECT_TRUE(is_ok(check_tree(tree)));
  EXPECT_EQ(tree.path(limits::kDepth).size(), 2 * limits::kDepth - 1);
  tree.nodes.back().mode = S_IFDIR | 0755;
  EXPECT_TRUE(fails_with(Code::exhausted, check_tree(tree)));
}

TEST(CheckTreeTest, TypesAndPayloads) {
  for (uint32_t type = 0; type <= 0xf; ++type) {
    const bool known = type == 1 || type == 2 || type == 4 || type == 6 || type == 8 || type == 10;
    Tree tree = empty_tree();
    tree.contents = {{sha256({}), 0}};
    tree.targets = {"t"};
    tree.devices = {{1, 1}};
    add_node(tree, 0, "n", type << 12 | 0644, type == 1 || type == 4 ? kNone : 0);
    EXPECT_EQ(check_tree(tree).ok(), known) << type;
    if (known && type != 1 && type != 4) {
      for (const uint32_t payload : {uint32_t{1}, kNone}) {
        tree.nodes[1].payload = payload;
        EXPECT_TRUE(fails_with(Code::corrupt, check_tree(tree))) << type;
      }
    }
  }
  for (const uint32_t none : {Sample::fifo, Sample::dir_a}) {
    EXPECT_TRUE(fails_with(Code::corrupt, check_node(none, [](Node& n) { n.payload = 0; })));
  }
}

TEST(CheckTreeTest, HardLinks) {
  const auto link = [](const std::function<void(Node&)>& change) {
    return check_node(Sample::hard_link, change);
  };
  EXPECT_TRUE(is_ok(link([](Node&) {})));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.link_to = Sample::hard_link; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.link_to = Sample::sparse_file; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.link_to = Sample::count; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.link_to = kNone - 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.link_to = Sample::empty_file; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.payload = 0; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.mode ^= 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.mode = S_IFLNK | 0777; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.owner.uid ^= 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.owner.gid ^= 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.mtime_ns += 1; })));
  EXPECT_TRUE(fails_with(Code::corrupt, link([](Node& n) { n.xattrs = 0; })));
  // To a directory, and to a hard link.
  EXPECT_TRUE(fails_with(Code::corrupt, check_changed([](Tree& tree) {
                           Node& node = tree.nodes[Sample::hard_link];
                           node = tree.nodes[Sample::dir_a];
                           node.parent = Sample::dir_a;
                           node.link_to = Sample::dir_a;
                           rename(tree, Sample::hard_link, "link");
                         })));
  Tree chain = sample_tree();
  add_link(chain, 0, "{", Sample::bundled_file);
  EXPECT_TRUE(is_ok(check_tree(chain)));
  chain.nodes.back().link_to = Sample::hard_link;
  EXPECT_TRUE(fails_with(Code::corrupt, check_tree(chain)));
}

TEST(CheckTreeTest, Targets) {
  const auto target = [](std::string text) {
    return check_changed([&](Tree& tree) { tree.targets[0] = text; });
  };
  EXPECT_TRUE(is_ok(target(std::string(limits::kLinkTargetBytes, 't'))));
  EXPECT_TRUE(fails_with(Code::corrupt, target(std::string(limits::kLinkTargetBytes + 1, 't'))));
  EXPECT_TRUE(fails_with(Code::corrupt, target("")));
  EXPECT_TRUE(fails_with(Code::corrupt, target(std::string("a\0b", 3))));
}

TEST(CheckTreeTest, ExtendedAttributes) {
  const auto set = [](const XattrSet& attributes) {
    return check_changed([&](Tree& tree) { tree.xattr_sets[0] = attributes; });
  };
  EXPECT_TRUE(is_ok(set({{"a", ""}, {"aa", ""}, {"b", ""}})));
  EXPECT_TRUE(is_ok(set({{std::string(255, 'n'), ""}})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({{"", "v"}})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({{"a", "1"}, {"a", "2"}})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({{"b", ""}, {"a", ""}})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({{std::string("a\0", 2), ""}})));
  EXPECT_TRUE(fails_with(Code::corrupt, set({{std::string(256, 'n'), ""}})));
  EXPECT_TRUE(is_ok(set({{"a", std::string(limits::kXattrBytes - 1, 'v')}})));
  EXPECT_TRUE(fails_with(Code::exhausted, set({{"a", std::string(limits::kXattrBytes, 'v')}})));
  for (const uint32_t missing : {uint32_t{2}, kNone - 1}) {
    EXPECT_TRUE(
        fails_with(Code::corrupt, check_node(Sample::fifo, [&](Node& n) { n.xattrs = missing; })));
  }
}

// A set may be large, and many nodes may have it, but not both.
TEST(CheckTreeTest, ExtendedAttributesOfAllNodes) {
  Tree tree = empty_tree();
  tree.xattr_sets = {{{"a", std::string(limits::kXattrBytes - 1, 'v')}}};
  constexpr uint64_t kMost = limits::kTreeXattrBytes / limits::kXattrBytes;
  for (uint64_t i = 0; i < kMost; ++i) {
    add_node(tree, 0,
             to_hex(as_bytes(std::string{static_cast<char>(i >> 8), static_cast<char>(i)})),
             S_IFIFO | 0600);
    tree.nodes.back().xattrs = 0;
  }
  EXPECT_TRUE(is_ok(check_tree(tree)));
  tree.nodes[0].xattrs = 0;
  EXPECT_TRUE(fails_with(Code::exhausted, check_tree(tree)));
}

TEST(CheckTreeTest, NumberOfAttributes) {
  Tree tree = empty_tree();
  tree.xattr_sets.assign(limits::kXattrTables / 2, XattrSet{{"a", ""}});
  EXPECT_TRUE(is_ok(check_tree(tree)));
  tree.xattr_sets.push_back(XattrSet{{"a", ""}});
  EXPECT_TRUE(fails_with(Code::exhausted, check_tree(tree)));
}

TEST(CheckTreeTest, Sizes) {
  const auto sizes = [](uint64_t sparse, uint64_t shared) {
    return check_changed([&](Tree& tree) {
      tree.contents[2].size_bytes = sparse;
      tree.contents[1].size_bytes = shared;
    });
  };
  EXPECT_TRUE(is_ok(sizes(limits::kFileBytes, 0)));
  EXPECT_TRUE(fails_with(Code::exhausted, sizes(limits::kFileBytes + 1, 0)));
  EXPECT_TRUE(fails_with(Code::exhausted, sizes(UINT64_MAX, 0)));
  // Content 1 counts twice: two names that are no hard links of one another.
  EXPECT_TRUE(is_ok(sizes(limits::kFileBytes - 1, limits::kFileBytes / 2)));
  EXPECT_TRUE(fails_with(Code::exhausted, sizes(limits::kFileBytes, limits::kFileBytes / 2)));
}

// Computed from docs/format.md by another program (Python's hashlib).
TEST(TreeIdsTest, GoldenValues) {
  const TreeIds sample = ids_of(sample_tree());
  EXPECT_EQ(sample.snapshot.hex(),
            "619f5502a6b3e76f8c1db8a3e6c7ebdd1700d50bb24185b04e1ab8a35c4750fd");
  EXPECT_EQ(sample.content.hex(),
            "ddc693290004f773b70dc400f066281244ee416f403bf752739b45582d899f78");
  const TreeIds empty = ids_of(empty_tree());
  EXPECT_EQ(empty.snapshot.hex(),
            "5a938aa45d3403af30fcc05fa994dbbe66fb3ea319fa254c4bbec72a8f209a9e");
  EXPECT_EQ(empty.content.hex(),
            "da0de528ffc0a2646586d79ee4dee869e08bde88d1e8549e60fd8ffad1b6b8fa");
}

TEST(TreeIdsTest, TheOrderOfTablesDoesNotMatter) {
  Tree tree = sample_tree();
  std::reverse(tree.contents.begin(), tree.contents.end());
  tree.contents.push_back({sha256(as_bytes("of no file")), 5});
  std::swap(tree.devices[0], tree.devices[1]);
  std::swap(tree.xattr_sets[0], tree.xattr_sets[1]);
  tree.targets.insert(tree.targets.begin(), "of no link");
  for (Node& node : tree.nodes) {
    if (node.xattrs != kNone) node.xattrs = 1 - node.xattrs;
    if (node.is_link()) continue;
    if (node.is_file()) node.payload = 2 - node.payload;
    if (node.is_device()) node.payload = 1 - node.payload;
    if (node.is_symlink()) node.payload = 1;
  }
  // The same names, stored backwards.
  for (uint32_t i = Sample::count; i-- > 1;) rename(tree, i, std::string(tree.name(i)));
  ASSERT_TRUE(is_ok(check_tree(tree)));
  EXPECT_EQ(ids_of(tree), ids_of(sample_tree()));
}

TEST(TreeIdsTest, AContentMayBeListedTwice) {
  Tree tree = sample_tree();
  tree.contents.push_back(tree.contents[1]);
  tree.nodes[Sample::same_file].payload = 3;
  EXPECT_EQ(ids_of(tree), ids_of(sample_tree()));
}

TEST(TreeIdsTest, SensitiveToEachField) {
  struct Change {
    const char* what;
    std::function<void(Tree&)> make;
    bool in_content_id = true;
  };
  const Change changes[] = {
      {"uid", [](Tree& t) { t.nodes[Sample::fifo].owner.uid = 1; }, false},
      {"gid", [](Tree& t) { t.nodes[Sample::fifo].owner.gid = 1; }, false},
      {"time", [](Tree& t) { t.nodes[Sample::fifo].mtime_ns = 1; }, false},
      {"time before 1970", [](Tree& t) { t.nodes[Sample::fifo].mtime_ns = INT64_MIN; }, false},
      {"root's time", [](Tree& t) { t.nodes[0].mtime_ns = 1; }, false},
      {"permissions", [](Tree& t) { t.nodes[Sample::fifo].mode ^= 0200; }},
      {"set-user-id", [](Tree& t) { t.nodes[Sample::same_file].mode ^= 04000; }},
      {"type", [](Tree& t) { t.nodes[Sample::char_device].mode ^= S_IFCHR ^ S_IFBLK; }},
      {"name", [](Tree& t) { rename(t, Sample::fifo, "cc"); }},
      {"parent", [](Tree& t) { t.nodes[Sample::sparse_file].parent = Sample::dir_a; }},
      {"size", [](Tree& t) { t.contents[2].size_bytes += 1; }},
      {"digest", [](Tree& t) { t.contents[2].digest.bytes[31] ^= 1; }},
      {"content", [](Tree& t) { t.nodes[Sample::same_file].payload = 2; }},
      {"target", [](Tree& t) { t.targets[0] += "x"; }},
      {"major", [](Tree& t) { t.devices[0].major += 1; }},
      {"minor", [](Tree& t) { t.devices[1].minor += 1; }},
      {"attribute's name", [](Tree& t) { t.xattr_sets[0][0].name += "x"; }},
      {"attribute's value", [](Tree& t) { t.xattr_sets[0][1].value += "x"; }},
      {"attribute more",
       [](Tree& t) {
         t.xattr_sets[1].push_back({"z", ""});
       }},
      {"attributes gone", [](Tree& t) { t.nodes[Sample::dir_sub].xattrs = kNone; }},
      {"a copy for a link",
       [](Tree& t) {
         t.nodes[Sample::hard_link].link_to = kNone;
         t.nodes[Sample::hard_link].payload = 1;
       }},
      {"a node more", [](Tree& t) { add_node(t, 0, "{", S_IFIFO | 0600); }},
      {"a node less", [](Tree& t) { t.nodes.pop_back(); }},
  };
  const TreeIds before = ids_of(sample_tree());
  for (const Change& change : changes) {
    Tree tree = sample_tree();
    change.make(tree);
    ASSERT_TRUE(is_ok(check_tree(tree))) << change.what;
    const TreeIds after = ids_of(tree);
    EXPECT_NE(after.snapshot, before.snapshot) << change.what;
    EXPECT_EQ(after.content != before.content, change.in_content_id) << change.what;
  }
}

TEST(TreeIdsTest, LongTreesAreHashedInBlocks) {
  // Several blocks of the serialiser, and one node larger than a block.
  Tree tree = empty_tree();
  tree.xattr_sets = {{{"user.large", std::string(100'000, 'v')}}};
  for (int i = 1000; i < 5000; ++i) add_node(tree, 0, std::to_string(i), S_IFIFO | 0600);
  tree.nodes[2000].xattrs = 0;
  ASSERT_TRUE(is_ok(check_tree(tree)));
  Sha256 hash;
  hash.update("thaw content v1\n");
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    hash.update_le(uint32_t{0});
    hash.update_le(tree.nodes[i].name_length);
    hash.update(tree.name(i));
    hash.update_le(tree.nodes[i].mode);
    hash.update_le(uint8_t{0});
    hash.update_le(uint32_t{i == 2000});
    if (i != 2000) continue;
    hash.update_le(uint32_t{10});
    hash.update("user.large");
    hash.update_le(uint32_t{100'000});
    hash.update(tree.xattr_sets[0][0].value);
  }
  EXPECT_EQ(ids_of(tree).content, hash.finish());
}

TEST(TreeTest, Paths) {
  const Tree tree = sample_tree();
  EXPECT_EQ(tree.path(Sample::root), "");
  EXPECT_EQ(tree.path(Sample::dir_a), "a");
  EXPECT_EQ(tree.path(Sample::sparse_file), "a/sub/x");
  EXPECT_EQ(tree.path(Sample::same_file), "z\xff");
}

TEST(TreeTest, ContentOfFollowsLinks) {
  const Tree tree = sample_tree();
  EXPECT_EQ(tree.content_of(tree.nodes[Sample::bundled_file]), 1U);
  EXPECT_EQ(tree.content_of(tree.nodes[Sample::hard_link]), 1U);
  EXPECT_EQ(tree.content_of(tree.nodes[Sample::symlink]), kNone);
  EXPECT_EQ(tree.content_of(tree.nodes[Sample::linked_symlink]), kNone);
  EXPECT_EQ(tree.content_of(tree.nodes[Sample::root]), kNone);
}

TEST(TreeTest, Totals) {
  const TreeTotals totals = totals_of(sample_tree());
  EXPECT_EQ(totals.files, 5U);
  EXPECT_EQ(totals.dirs, 3U);
  EXPECT_EQ(totals.others, 5U);
  EXPECT_EQ(totals.bytes, 0 + 1000 + 3 * 1024 * 1024 + 1000U);
}

}  // namespace
}  // namespace thaw::test
