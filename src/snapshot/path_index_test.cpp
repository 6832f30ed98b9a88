#include "snapshot/path_index.h"

#include <gtest/gtest.h>

#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw {
namespace {

using test::fails_with;
using test::Sample;

TEST(PathIndex, FindsEveryNodeByItsPath) {
  const Tree tree = test::sample_tree();
  ASSERT_TRUE(test::is_ok(check_tree(tree)));
  const PathIndex index(tree);
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const auto found = index.find(tree.path(i));
    ASSERT_TRUE(test::is_ok(found)) << tree.path(i);
    EXPECT_EQ(*found, i);
  }
}

TEST(PathIndex, TakesSlashesAndDotsAsPathsDo) {
  const Tree tree = test::sample_tree();
  const PathIndex index(tree);
  EXPECT_EQ(*index.find("/a//sub/./x"), Sample::sparse_file);
  EXPECT_EQ(*index.find("./a/"), Sample::dir_a);
  EXPECT_EQ(*index.find("/"), Sample::root);
}

TEST(PathIndex, SaysWhatIsWrong) {
  const Tree tree = test::sample_tree();
  const PathIndex index(tree);
  for (const char* path : {"a/nothing", "0", "zz", "a/sub/x/y", "A"}) {
    EXPECT_TRUE(fails_with(Code::not_found, index.find(path))) << path;
  }
  EXPECT_TRUE(fails_with(Code::invalid, index.find("a/../b")));
  const auto through = index.find("b/x");
  ASSERT_TRUE(fails_with(Code::invalid, through));
  EXPECT_NE(through.error().text().find("../somewhere/else"), std::string::npos);
  EXPECT_TRUE(fails_with(Code::invalid, index.find("y/x"))) << "a hard link to a symbolic one";
}

TEST(PathIndex, TellsManySiblingsApart) {
  Tree tree = test::empty_tree();
  tree.contents.push_back({sha256({}), 0});
  std::vector<std::string> names;
  for (int i = 0; i < 5000; ++i) names.push_back(std::to_string(i * 7));
  names.push_back("\xff");
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) test::add_node(tree, 0, name, S_IFREG | 0644, 0);
  ASSERT_TRUE(test::is_ok(check_tree(tree)));
  const PathIndex index(tree);
  for (uint32_t i = 0; i < names.size(); ++i) EXPECT_EQ(*index.find(names[i]), i + 1);
  EXPECT_TRUE(fails_with(Code::not_found, index.find("1")));
}

}  // namespace
}  // namespace thaw
