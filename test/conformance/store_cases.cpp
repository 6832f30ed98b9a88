#include "conformance/store_cases.h"

#include <cstdlib>
#include <iostream>
#include <random>

#include "object/disk.h"
#include "object/memory.h"
#include "object/retrying.h"

namespace thaw::test {
namespace {

OpenedStore open_memory() { return {nullptr, nullptr, nullptr, make_memory_store()}; }

OpenedStore open_disk(Durability durability) {
  OpenedStore opened;
  opened.dir = std::make_unique<TempDir>();
  // Below two folders that are not there yet.
  auto store = open_disk_store(opened.dir->path_of("not/yet"), durability);
  if (!store) throw std::runtime_error(store.error().text());
  opened.store = *std::move(store);
  return opened;
}

OpenedStore with_meter(OpenedStore opened) {
  opened.meter = std::make_unique<StoreMeter>();
  opened.store = metered(std::move(opened.store), *opened.meter);
  return opened;
}

OpenedStore with_retries(OpenedStore opened) {
  opened.store = retrying(std::move(opened.store));
  return opened;
}

// Two of three calls fail, before or after they took effect; a create only before, since its caller
// is the one who tells whose the object is.
OpenedStore with_transient_faults(OpenedStore opened) {
  opened.faults = std::make_unique<Faults>();
  opened.faults->on_call([](const Call& call) -> Result<> {
    const bool fails =
        call.when == When::before ? call.number % 3 == 1 : call.number % 3 == 2 && !call.is_create;
    if (fails) return Error(Code::unavailable, "scripted");
    return {};
  });
  // Threads that race may meet many failures in a row.
  const RetryPolicy policy{1000, std::chrono::milliseconds(0), std::chrono::milliseconds(0)};
  opened.store = retrying(faulty(std::move(opened.store), *opened.faults), policy);
  return opened;
}

}  // namespace

std::vector<StoreCase> store_cases() {
  return {
      {"memory", open_memory},
      {"disk_full", [] { return open_disk(Durability::full); }, true},
      {"disk_none", [] { return open_disk(Durability::none); }, true},
      {"retrying_memory", [] { return with_retries(open_memory()); }},
      {"metered_disk", [] { return with_meter(open_disk(Durability::none)); }, true},
      {"retrying_metered_disk",
       [] { return with_retries(with_meter(open_disk(Durability::none))); }, true},
      {"retrying_transient_faults", [] { return with_transient_faults(open_memory()); }},
  };
}

std::string name_of_case(const ::testing::TestParamInfo<StoreCase>& tested) {
  return tested.param.name;
}

ObjectKey ObjectStoreTest::key(std::string_view text) {
  auto parsed = ObjectKey::parse(std::string(text));
  if (!parsed) throw std::runtime_error(parsed.error().text());
  return *std::move(parsed);
}

void ObjectStoreTest::put(std::string_view name, std::string_view text, PutMode mode) {
  const auto outcome = store().put(context_, key(name), Buffer::copy_of(as_bytes(text)), mode);
  ASSERT_TRUE(outcome) << outcome.error().text();
  ASSERT_EQ(*outcome, PutOutcome::stored) << name;
}

void ObjectStoreTest::remove(const std::vector<std::string>& names) {
  std::vector<ObjectKey> keys;
  for (const std::string& name : names) keys.push_back(key(name));
  const auto removed = store().remove(context_, keys);
  ASSERT_TRUE(removed) << removed.error().text();
}

std::string ObjectStoreTest::text_of(std::string_view name, ByteRange range) {
  const auto fetched = store().get(context_, key(name), range, Freshness::any);
  if (fetched) return std::string(as_text(fetched->bytes.view()));
  ADD_FAILURE() << fetched.error().text();
  return "";
}

bool ObjectStoreTest::has(std::string_view name) {
  const auto found = store().find(context_, key(name));
  if (found) return found->has_value();
  ADD_FAILURE() << found.error().text();
  return false;
}

ListPage ObjectStoreTest::list(std::string_view prefix, ListOptions options) {
  auto page = store().list(context_, prefix, std::move(options));
  if (page) return *std::move(page);
  ADD_FAILURE() << page.error().text();
  return {};
}

std::vector<std::string> ObjectStoreTest::names(std::string_view prefix, size_t limit,
                                                std::string after) {
  std::vector<std::string> all;
  while (true) {
    const ListPage page = list(prefix, {after, limit});
    EXPECT_LE(page.objects.size(), limit);
    for (const Listed& each : page.objects) all.push_back(each.key.text());
    EXPECT_TRUE(!page.more || page.objects.size() == limit) << "only the last page may be short";
    if (!page.more || page.objects.empty()) return all;
    after = all.back();
  }
}

std::vector<std::string> names_of(const ListPage& page) {
  std::vector<std::string> names;
  for (const Listed& each : page.objects) names.push_back(each.key.text());
  return names;
}

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("THAW_TEST_SEED");
    const uint64_t chosen =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::cout << "THAW_TEST_SEED=" << chosen << '\n';
    return chosen;
  }();
  return seed;
}

}  // namespace thaw::test
