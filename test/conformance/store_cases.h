// The stores that must all behave as src/object/store.h says.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "object/metered.h"
#include "object/s3/s3.h"
#include "object/store.h"
#include "object/tier_meter.h"
#include "support/faulty_store.h"
#include "support/temp_dir.h"
#include "support/test_seed.h"

namespace thaw::test {

// An empty store and what it stands on.
struct OpenedStore {
  std::unique_ptr<TempDir> dir;
  std::unique_ptr<StoreMeter> meter;
  std::unique_ptr<Faults> faults;
  std::vector<std::unique_ptr<TierMeter>> tier_meters{};
  std::unique_ptr<s3::HttpClient> http{};
  std::unique_ptr<s3::Credentialing> credentials{};
  std::unique_ptr<ObjectStore> store;  // last: it goes first
};

struct StoreCase {
  std::string name;
  std::function<OpenedStore()> open;
  bool is_tree = false;  // names are paths of files: no object lies below another
  // Names are UTF-8 and share their 1,024 bytes with a prefix, times have no fractions everywhere,
  // and a call may fail for a while without anybody's doing.
  bool is_bucket = false;

  // A name that this store can hold, in the same order among others.
  std::string fit(const std::string& plain) const;
  // Whether it takes such a prefix or name to start after.
  bool takes(const std::string& text) const;
};

// In a bucket of a real S3 server too, where THAW_TEST_S3_ENDPOINT names one (test/support/rgw.py).
std::vector<StoreCase> store_cases();
std::string name_of_case(const ::testing::TestParamInfo<StoreCase>& tested);

// The fixture of every conformance test: a fresh store for each.
class ObjectStoreTest : public ::testing::TestWithParam<StoreCase> {
 protected:
  static ObjectKey key(std::string_view text);

  // Each fails the test where the store fails.
  void put(std::string_view name, std::string_view text, PutMode mode = PutMode::overwrite);
  void remove(const std::vector<std::string>& names);
  std::string text_of(std::string_view name, ByteRange range = ByteRange::whole());
  bool has(std::string_view name);
  ListPage list(std::string_view prefix, ListOptions options = {});
  // All names of a prefix, page by page.
  std::vector<std::string> names(std::string_view prefix = "", size_t limit = 1000,
                                 std::string after = "");

  ObjectStore& store() { return *opened_.store; }
  const Context context_;

 private:
  OpenedStore opened_ = GetParam().open();
};

std::vector<std::string> names_of(const ListPage& page);

}  // namespace thaw::test
