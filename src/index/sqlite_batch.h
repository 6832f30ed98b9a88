// SqliteBatch: the notes of one transaction. Internal to sqlite_index.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>

#include "index/sqlite_tables.h"
#include "object/block_names.h"
#include "object/recency_index.h"

namespace thaw {

// Of a sum.
struct SqliteChange {
  int64_t bytes = 0;
  int64_t blocks = 0;
};

// For one thread, within a transaction of the caller's. What it is given outlives it.
class SqliteBatch {
 public:
  explicit SqliteBatch(SqliteTables& tables) : tables_(tables) {}

  Result<> add(const BlockNote& note, const BlockPlace& place);
  // Changes the sums, each once. The last call.
  Result<> sum_up();

 private:
  struct Found {
    int64_t use = 0;
    std::optional<int64_t> bytes;
  };
  enum class Missing { leave, make };

  // 0: there is none.
  Result<int64_t> object_of(const BlockPlace& place, Missing missing);
  Result<std::optional<Found>> find(int64_t object, const BlockNote& note);
  Result<> admit(const BlockNote& note, const BlockPlace& place, int64_t object);
  Result<> evict(const BlockNote& note, const BlockPlace& place);
  void change(int64_t object, const BlockPlace& place, SqliteChange by);

  SqliteTables& tables_;
  std::unordered_map<std::string_view, int64_t> ids_;
  std::unordered_map<int64_t, SqliteChange> objects_;
  std::unordered_map<std::string_view, SqliteChange> groups_;
  std::set<int64_t> evicted_;  // objects that may have no block left
};

}  // namespace thaw
