#include "conformance/store_cases.h"

#include <cstdlib>
#include <optional>

#include "base/environment.h"
#include "base/random.h"
#include "format/utf8.h"
#include "object/block_cache.h"
#include "object/disk.h"
#include "object/disk_tier.h"
#include "object/memory.h"
#include "object/retrying.h"
#include "support/passing_store.h"

namespace thaw::test {
namespace {

OpenedStore open_memory() {
  OpenedStore opened;
  opened.store = make_memory_store();
  return opened;
}

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

// Asks for the version of each object before it gets it, as a reader of objects that may change
// does: so a tier below it keeps all of them.
class PinningStore final : public PassingStore {
 public:
  using PassingStore::PassingStore;

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    if (wanted.version) return inner().get(context, key, range, wanted);
    while (true) {
      THAW_ASSIGN(const auto info, inner().find(context, key));
      if (!info) return Error(Code::not_found, "no such object").within("get " + key.text());
      auto got = inner().get(context, key, range,
                             {wanted.freshness, ObjectVersion{info->etag, info->size_bytes}});
      // It changed in between.
      if (!got && got.error().code() == Code::not_found) continue;
      return got;
    }
  }
};

OpenedStore with_tier(OpenedStore opened, std::unique_ptr<ObjectStore> fast,
                      std::unique_ptr<BlockClaims> claims = nullptr) {
  static const Context process;
  opened.tier_meters.push_back(std::make_unique<TierMeter>());
  BlockCacheOptions options;
  options.store_name = "conformance";
  options.block_bytes = 64 * 1024;
  opened.store = std::make_unique<PinningStore>(
      block_cache(std::move(opened.store), std::move(fast), std::move(claims), options,
                  *opened.tier_meters.back(), process));
  return opened;
}

OpenedStore with_disk_tier(OpenedStore opened) {
  opened.dir = std::make_unique<TempDir>();
  auto tier = open_disk_tier(opened.dir->path_of("tier"));
  if (!tier) throw std::runtime_error(tier.error().text());
  return with_tier(std::move(opened), std::move(tier->store), std::move(tier->claims));
}

// Of its calls every fourth fails, and every fifth answer is damaged.
OpenedStore with_faulty_tier(OpenedStore opened) {
  opened.faults = std::make_unique<Faults>();
  opened.faults->on_call([](const Call& call) -> Result<> {
    if (call.when == When::before && call.number % 4 == 0) {
      return Error(Code::unavailable, "scripted");
    }
    return {};
  });
  for (uint64_t number = 5; number < 10'000; number += 5) {
    opened.faults->change_get(number, [](const Buffer& bytes) {
      return bytes.empty() ? bytes : with_flipped_byte(bytes.size() / 2)(bytes);
    });
  }
  Faults& faults = *opened.faults;
  return with_tier(std::move(opened), faulty(make_memory_store(), faults));
}

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// A prefix of its own in the bucket that the environment names.
OpenedStore open_bucket(s3::S3Options options = {}) {
  options.bucket = variable("THAW_TEST_S3_BUCKET").value_or("");
  options.endpoint = variable("THAW_TEST_S3_ENDPOINT").value_or("");
  options.region = variable("THAW_TEST_S3_REGION").value_or("us-east-1");
  options.prefix = "conformance/" + RandomId::fresh().hex();
  s3::CredentialOptions named;
  named.fixed = s3::Credentials{variable("THAW_TEST_S3_ACCESS_KEY").value_or(""),
                                Secret(variable("THAW_TEST_S3_SECRET_KEY").value_or("")), Secret(),
                                std::nullopt};
  OpenedStore opened;
  opened.http = s3::make_http_client({});
  opened.credentials =
      s3::credential_chain(named, process_environment(), *opened.http, system_clock());
  opened.store = s3::make_s3_store(options, *opened.http, opened.credentials.get(), system_clock());
  return opened;
}

OpenedStore open_bucket_without_checksums() {
  s3::S3Options options;
  options.checksums = false;
  return open_bucket(options);
}

}  // namespace

std::vector<StoreCase> store_cases() {
  std::vector<StoreCase> cases = {
      {"memory", open_memory},
      {"disk_full", [] { return open_disk(Durability::full); }, true},
      {"disk_none", [] { return open_disk(Durability::none); }, true},
      {"retrying_memory", [] { return with_retries(open_memory()); }},
      {"metered_disk", [] { return with_meter(open_disk(Durability::none)); }, true},
      {"retrying_metered_disk",
       [] { return with_retries(with_meter(open_disk(Durability::none))); }, true},
      {"retrying_transient_faults", [] { return with_transient_faults(open_memory()); }},
      {"memory_tier", [] { return with_tier(open_memory(), make_memory_store()); }},
      {"disk_tier", [] { return with_disk_tier(open_memory()); }},
      {"tier_over_disk", [] { return with_tier(open_disk(Durability::none), make_memory_store()); },
       true},
      {"two_tiers", [] { return with_disk_tier(with_tier(open_memory(), make_memory_store())); }},
      {"faulty_tier", [] { return with_faulty_tier(open_memory()); }},
  };
  if (variable("THAW_TEST_S3_ENDPOINT")) {
    cases.push_back({"s3", [] { return open_bucket(); }, false, true});
    cases.push_back({"s3_without_checksums", open_bucket_without_checksums, false, true});
    cases.push_back({"retrying_metered_s3", [] { return with_retries(with_meter(open_bucket())); },
                     false, true});
    cases.push_back({"disk_tier_s3", [] { return with_disk_tier(open_bucket()); }, false, true});
  }
  return cases;
}

// Each byte as the code point of its number: the order of bytes stays.
std::string StoreCase::fit(const std::string& plain) const {
  if (!is_bucket) return plain;
  std::string text;
  for (const char c : plain) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | byte >> 6U);
      text += static_cast<char>(0x80 | (byte & 0x3fU));
    }
  }
  return text;
}

bool StoreCase::takes(const std::string& text) const {
  return !is_bucket ||
         (is_utf8(text) && text.size() <= 900 && text.find('\0') == std::string::npos);
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

}  // namespace thaw::test
