#include "support/index_cases.h"

#include <set>

#include "base/random.h"
#include "index/memory_index.h"
#include "index/redis_index.h"
#include "index/sqlite_index.h"
#include "object/block_names.h"
#include "support/redis_server.h"
#include "support/result_check.h"

namespace thaw::test {
namespace {

IndexPlace in_memory() {
  IndexPlace place;
  place.open = make_memory_index;
  return place;
}

IndexPlace in_sqlite() {
  IndexPlace place;
  place.dir = std::make_unique<TempDir>();
  place.open = [path = place.dir->path_of("index.sqlite"), meter = place.meter.get()] {
    return make_sqlite_index({path}, *meter);
  };
  return place;
}

// One server for all tests of a kind; each has a prefix of its own, of what prefixes may be.
IndexPlace in_redis(const RedisServer& server) {
  IndexPlace place;
  place.open = [url = server.url("test*[x]:" + RandomId::fresh().hex())] {
    return make_redis_index({parse_redis_url(url).value(), std::chrono::minutes(1)});
  };
  return place;
}

const RedisServer& plain_server() {
  static const RedisServer server;
  return server;
}

const RedisServer& guarded_server() {
  static const RedisServer server({true, "open-sesame"});
  return server;
}

}  // namespace

std::vector<IndexCase> index_cases() {
  return {{"memory", in_memory, false},
          {"sqlite", in_sqlite},
          {"redis", [] { return in_redis(plain_server()); }},
          {"redis_tls_auth", [] { return in_redis(guarded_server()); }}};
}

std::string name_of_index_case(const ::testing::TestParamInfo<IndexCase>& tested) {
  return tested.param.name;
}

ObjectKey block_of(const std::string& object, uint64_t number, const std::string& store) {
  return ObjectKey::parse(in_tier(object, store) + "/@/once-64/" + std::to_string(number)).value();
}

std::string in_tier(const std::string& object, const std::string& store) {
  return "blocks/" + store + "/" + object;
}

std::vector<IndexedBlock> walk(RecencyIndex& index, size_t limit) {
  std::vector<IndexedBlock> all;
  std::string next;
  std::set<std::string> seen;
  do {
    auto page = index.coldest(Context(), Timestamp{INT64_MAX}, limit, next);
    EXPECT_TRUE(is_ok(page));
    if (!page) return all;
    EXPECT_LE(page->blocks.size(), limit);
    EXPECT_TRUE(page->next.empty() || page->blocks.size() == limit);
    for (IndexedBlock& block : page->blocks) {
      EXPECT_TRUE(seen.insert(block.block.text()).second) << block.block.text() << " came twice";
      EXPECT_TRUE(all.empty() || all.back().last_use <= block.last_use);
      all.push_back(std::move(block));
    }
    next = page->next;
  } while (!next.empty());
  return all;
}

void expect_true_sums(RecencyIndex& index) {
  std::map<std::string, IndexUsage> objects;
  std::map<std::string, IndexUsage> groups;
  IndexUsage all;
  for (const IndexedBlock& block : walk(index)) {
    const BlockPlace place = place_of_block(block.block.text()).value();
    for (IndexUsage* sum :
         {&all, &objects[std::string(place.object)], &groups[std::string(place.group)]}) {
      sum->bytes += block.bytes.value_or(0);
      sum->blocks += block.bytes ? 1 : 0;
    }
  }
  const auto expect = [&](const UsageOf& of, const IndexUsage& wanted) {
    const auto usage = index.usage(Context(), of);
    ASSERT_TRUE(is_ok(usage));
    EXPECT_EQ(usage->bytes, wanted.bytes) << of.name;
    EXPECT_EQ(usage->blocks, wanted.blocks) << of.name;
  };
  expect(UsageOf::all(), all);
  for (const auto& [name, sum] : objects) expect(UsageOf::object(name), sum);
  for (const auto& [name, sum] : groups) expect(UsageOf::group(name), sum);
}

}  // namespace thaw::test
