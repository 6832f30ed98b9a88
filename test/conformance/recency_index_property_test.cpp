// Random calls of every index, through two handles, beside a plain model of what it promises.
#include <algorithm>

#include "object/block_names.h"
#include "support/index_cases.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/test_seed.h"

namespace thaw {
namespace {

using test::is_ok;
using Kind = BlockNote::Kind;

struct Fact {
  int64_t us = 0;
  std::optional<uint64_t> bytes;
};

// What an index has to know. Sums are made when they are asked for.
class Model {
 public:
  void apply(const BlockNote& note) {
    const int64_t us = note.at.ns / 1000;
    const auto found = facts_.find(note.block.text());
    if (note.kind == Kind::evict) {
      if (found != facts_.end() && found->second.us <= us) facts_.erase(found);
      return;
    }
    Fact& fact = facts_[note.block.text()];
    fact.us = std::max(fact.us, us);
    if (note.kind == Kind::admit) fact.bytes = note.bytes;
  }
  uint64_t evict_prefix(const std::string& prefix) {
    return std::erase_if(facts_, [&](const auto& each) {
      const std::string object(place_of_block(each.first)->object);
      return object == prefix || object.starts_with(prefix + "/");
    });
  }
  IndexUsage usage(const UsageOf& of) const {
    IndexUsage sum;
    for (const auto& [name, fact] : facts_) {
      const BlockPlace place = *place_of_block(name);
      const bool counts =
          of.what == UsageOf::What::all ||
          of.name == (of.what == UsageOf::What::object ? place.object : place.group);
      if (!counts || !fact.bytes) continue;
      sum.bytes += *fact.bytes;
      ++sum.blocks;
    }
    return sum;
  }
  const std::map<std::string, Fact>& facts() const { return facts_; }

 private:
  std::map<std::string, Fact> facts_;
};

class RecencyIndexPropertyTest : public ::testing::TestWithParam<test::IndexCase> {
 protected:
  RecencyIndexPropertyTest() : random_(test::test_seed()) {
    handles_.push_back(place_.open());
    if (GetParam().is_shared) handles_.push_back(place_.open());
  }

  RecencyIndex& any() { return *handles_[random_.below(handles_.size())]; }
  ObjectKey block() {
    static const std::vector<std::string> objects = {
        "packs/3f/ab", "packs/3f/abc", "packs/3f", "b1/rootfs",  "b10/rootfs",   "b1",
        "b*",          "b?/x",         "b[1]",     "\xff\xfe/x", "a/@/once-64/1"};
    const std::string store = random_.below(4) == 0 ? "ffffffffffffffff" : "0123456789abcdef";
    return test::block_of(objects[random_.below(objects.size())], random_.below(12), store);
  }
  std::string prefix() {
    const std::string name = block().text();
    size_t end = 23;
    for (uint64_t more = random_.below(4); more > 0; --more) {
      const size_t next = name.find('/', end + 1);
      if (next == std::string::npos || name.compare(next, 2, "/@") == 0) break;
      end = next;
    }
    return name.substr(0, end);
  }

  void step();
  void compare();

  test::TestRandom random_;
  test::IndexPlace place_ = GetParam().make();
  std::vector<std::unique_ptr<RecencyIndex>> handles_;
  Model model_;
  const Context context_;
};

INSTANTIATE_TEST_SUITE_P(All, RecencyIndexPropertyTest, ::testing::ValuesIn(test::index_cases()),
                         test::name_of_index_case);

void RecencyIndexPropertyTest::step() {
  const uint64_t what = random_.below(40);
  if (what == 0) {
    const std::string name = prefix();
    const auto count = any().evict_prefix(context_, name);
    ASSERT_TRUE(is_ok(count));
    ASSERT_EQ(*count, model_.evict_prefix(name)) << name;
  } else if (what == 1) {
    ASSERT_TRUE(is_ok(any().reconcile(context_)));
  } else {
    std::vector<BlockNote> notes;
    for (uint64_t i = random_.below(what == 2 ? 800 : 12); i > 0; --i) {
      const auto kind = static_cast<Kind>(random_.below(3));
      const auto at = Timestamp{static_cast<int64_t>(random_.below(60'000))};
      notes.push_back({kind, block(), at, kind == Kind::admit ? random_.below(9'000'000) : 0});
      model_.apply(notes.back());
    }
    ASSERT_TRUE(is_ok(any().apply(context_, notes)));
  }
}

void RecencyIndexPropertyTest::compare() {
  RecencyIndex& index = any();
  std::vector<ObjectKey> asked;
  for (int i = 0; i < 20; ++i) asked.push_back(block());
  const auto uses = index.last_use(context_, asked);
  ASSERT_TRUE(is_ok(uses));
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto known = model_.facts().find(asked[i].text());
    ASSERT_EQ((*uses)[i].has_value(), known != model_.facts().end()) << asked[i].text();
    if (!(*uses)[i]) continue;
    ASSERT_EQ((*uses)[i]->ns, known->second.us * 1000) << asked[i].text();
  }
  const auto walked = test::walk(index, 1 + random_.below(40));
  ASSERT_EQ(walked.size(), model_.facts().size());
  std::map<std::string, IndexUsage> objects;
  for (const IndexedBlock& each : walked) {
    const auto known = model_.facts().find(each.block.text());
    ASSERT_NE(known, model_.facts().end()) << each.block.text();
    ASSERT_EQ(each.last_use.ns, known->second.us * 1000);
    ASSERT_EQ(each.bytes, known->second.bytes);
  }
  const std::string name(place_of_block(block().text())->object);
  const std::string group(place_of_block(block().text())->group);
  for (const UsageOf& of : {UsageOf::all(), UsageOf::object(name), UsageOf::group(group)}) {
    const auto usage = index.usage(context_, of);
    ASSERT_TRUE(is_ok(usage));
    ASSERT_EQ(*usage, model_.usage(of)) << of.name;
  }
  test::expect_true_sums(index);
}

TEST_P(RecencyIndexPropertyTest, KnowsWhatTheModelKnows) {
  for (int round = 0; round < 40 && !HasFatalFailure(); ++round) {
    for (int i = 0; i < 12 && !HasFatalFailure(); ++i) step();
    if (!HasFatalFailure()) compare();
  }
}

}  // namespace
}  // namespace thaw
