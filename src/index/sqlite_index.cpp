#include "index/sqlite_index.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/fd.h"
#include "base/log.h"
#include "index/index_contract.h"
#include "index/sqlite_batch.h"
#include "index/sqlite_tables.h"
#include "index/turn.h"

namespace thaw {
namespace {

using Transaction = SqliteDatabase::Transaction;

constexpr int64_t kObjectsPage = 256;  // of one transaction, so that others are not kept waiting

class SqliteIndex final : public RecencyIndex {
 public:
  SqliteIndex(SqliteIndexOptions options, TierMeter& meter)
      : options_(std::move(options)), meter_(meter) {}

  Result<> apply(const Context& context, std::span<const BlockNote> notes) override {
    THAW_ASSIGN(const auto places, places_of(notes));
    if (notes.empty()) return {};
    return with_tables<void>(context, "take notes", [&](SqliteTables& tables) -> Result<> {
      THAW_ASSIGN(auto transaction, Transaction::begin(*tables.database));
      SqliteBatch batch(tables);
      for (size_t i = 0; i < notes.size(); ++i) THAW_CHECK(batch.add(notes[i], places[i]));
      THAW_CHECK(batch.sum_up());
      return transaction.commit();
    });
  }

  Result<std::vector<std::optional<Timestamp>>> last_use(
      const Context& context, std::span<const ObjectKey> blocks) override;
  Result<ColdPage> coldest(const Context& context, Timestamp before, size_t limit,
                           std::string_view after) override;
  Result<IndexUsage> usage(const Context& context, const UsageOf& of) override {
    return with_tables<IndexUsage>(context, "ask for sums",
                                   [&](SqliteTables& tables) { return usage_of(tables, of); });
  }
  Result<uint64_t> evict_prefix(const Context& context, std::string_view prefix) override;
  Result<Reconciled> reconcile(const Context& context) override;
  std::string describe() const override { return "sqlite(" + options_.path + ")"; }

 private:
  template <class T, class Work>
  Result<T> with_tables(const Context& context, const char* what, const Work& work);
  Result<SqliteTables*> tables(const Context& context);
  Result<> start_anew(const Context& context, const Error& why);
  static Result<IndexUsage> usage_of(SqliteTables& tables, const UsageOf& of);
  static Result<int64_t> evict_page(SqliteTables& tables, std::string_view prefix, bool& more);
  static Result<std::optional<int64_t>> audit_page(SqliteTables& tables, int64_t after);

  const SqliteIndexOptions options_;
  TierMeter& meter_;
  Turn turn_;
  std::unique_ptr<SqliteTables> tables_;
};

// --- the file

template <class T, class Work>
Result<T> SqliteIndex::with_tables(const Context& context, const char* what, const Work& work) {
  const auto attempt = [&]() -> Result<T> {
    THAW_ASSIGN(SqliteTables * opened, tables(context));
    const SqliteDatabase::Limit limit(*opened->database, context);
    return work(*opened);
  };
  const auto whole = [&]() -> Result<T> {
    THAW_ASSIGN(const auto held, turn_.take(context));
    auto done = attempt();
    if (!done && done.error().code() == Code::corrupt) {
      THAW_CHECK(start_anew(context, done.error()));
      done = attempt();
    }
    // What ended it is what the caller wants to know, not where SQLite stood.
    if (!done) THAW_CHECK(context.alive());
    return done;
  };
  return whole().within(fmt::format("{}: {}", describe(), what));
}

Result<SqliteTables*> SqliteIndex::tables(const Context& context) {
  // A tier may be emptied while it is used; what was unlinked is nobody's any more.
  if (tables_ && !tables_->database->is_current()) tables_.reset();
  if (!tables_) {
    THAW_ASSIGN(tables_, SqliteTables::open(options_.path, options_.patience, context));
  }
  return tables_.get();
}

// The index is a cache of facts: a damaged one is not worth more than an empty one.
Result<> SqliteIndex::start_anew(const Context& context, const Error& why) {
  log::warn("{} is damaged and begins anew: {}", describe(), why.text());
  meter_.index_rebuilt.fetch_add(1, std::memory_order_relaxed);
  tables_.reset();
  {
    auto database = SqliteDatabase::open(options_.path, options_.patience);
    if (database) {
      const SqliteDatabase::Limit limit(**database, context);
      auto wiped = (*database)->wipe();
      if (wiped || wiped.error().code() != Code::corrupt) return wiped;
    } else if (database.error().code() != Code::corrupt) {
      return std::move(database).error();
    }
  }
  // Not even that. One process at a time unlinks; whoever else has it open finds that it is gone.
  const std::string folder = options_.path.substr(0, options_.path.rfind('/') + 1);
  THAW_ASSIGN(const UniqueFd lock, open_path(folder.empty() ? "." : folder, O_RDONLY));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error(Code::busy, "another process starts the index anew");
  }
  // The log first: over another file it would be taken for that one's.
  for (const char* part : {"-wal", "-shm", ""}) ::unlink((options_.path + part).c_str());
  return {};
}

// --- questions

Result<std::vector<std::optional<Timestamp>>> SqliteIndex::last_use(
    const Context& context, std::span<const ObjectKey> blocks) {
  using Uses = std::vector<std::optional<Timestamp>>;
  THAW_CHECK(check_blocks(blocks));
  return with_tables<Uses>(context, "ask for uses", [&](SqliteTables& tables) -> Result<Uses> {
    Uses uses;
    for (const ObjectKey& block : blocks) {
      const BlockPlace place = *place_of_block(block.text());
      const SqliteReset reset_object(tables.find_object);
      const SqliteReset reset_block(tables.find_block);
      uses.emplace_back();
      THAW_ASSIGN(bool found, tables.find_object.bind(place.object).step());
      if (!found) continue;
      const int64_t id = tables.find_object.integer(0);
      THAW_ASSIGN(found, tables.find_block.bind(id, std::string_view(block.text())).step());
      if (found) uses.back() = time_of(tables.find_block.integer(0));
    }
    return uses;
  });
}

// "<use> <object's number> <name>"
Result<std::pair<int64_t, std::string>> place_of_cursor(const Cursor& cursor) {
  int64_t object = 0;
  const std::string& text = cursor.block;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), object);
  const auto length = static_cast<size_t>(end - text.data());
  if (fault != std::errc() || length >= text.size() || text[length] != ' ') {
    return Error(Code::invalid, "no page of this index ended there");
  }
  return std::pair(object, text.substr(length + 1));
}

Result<ColdPage> SqliteIndex::coldest(const Context& context, Timestamp before, size_t limit,
                                      std::string_view after) {
  THAW_CHECK(check_limit(limit));
  THAW_ASSIGN(const auto cursor, cursor_of(after));
  std::pair<int64_t, std::string> from;
  if (cursor) {
    THAW_ASSIGN(from, place_of_cursor(*cursor));
  }
  const int64_t use = cursor ? cursor->use : -1;
  // One more tells whether there is another page.
  const auto wanted = static_cast<int64_t>(std::min<size_t>(limit, INT32_MAX)) + 1;
  return with_tables<ColdPage>(
      context, "look for the coldest", [&](SqliteTables& tables) -> Result<ColdPage> {
        SqliteStatement& rows = tables.coldest;
        const SqliteReset reset(rows);
        rows.bind(bound_of(before), use, from.first, std::string_view(from.second), wanted);
        ColdPage page;
        int64_t object = 0;
        while (true) {
          THAW_ASSIGN(const bool row, rows.step());
          if (!row) return page;
          if (page.blocks.size() + 1 == static_cast<size_t>(wanted)) break;
          auto name = ObjectKey::parse(std::string(rows.text(1)));
          if (!name) return Error(Code::corrupt, "a block without a name");
          object = rows.integer(3);
          page.blocks.push_back({*std::move(name), time_of(rows.integer(0)), std::nullopt});
          if (!rows.is_null(2)) page.blocks.back().bytes = static_cast<uint64_t>(rows.integer(2));
        }
        const IndexedBlock& last = page.blocks.back();
        page.next =
            text_of(Cursor{use_of(last.last_use), fmt::format("{} {}", object, last.block.text())});
        return page;
      });
}

Result<IndexUsage> SqliteIndex::usage_of(SqliteTables& tables, const UsageOf& of) {
  const bool is_object = of.what == UsageOf::What::object;
  // The empty name is the whole's.
  if (of.what != UsageOf::What::all && of.name.empty()) return IndexUsage();
  SqliteStatement& sums = is_object ? tables.object_usage : tables.group_usage;
  const SqliteReset reset(sums);
  const std::string name = of.what == UsageOf::What::all ? "" : of.name;
  THAW_ASSIGN(const bool row, sums.bind(std::string_view(name)).step());
  if (!row) return IndexUsage();
  return IndexUsage{static_cast<uint64_t>(std::max<int64_t>(sums.integer(0), 0)),
                    static_cast<uint64_t>(std::max<int64_t>(sums.integer(1), 0))};
}

// --- whole objects

Result<uint64_t> SqliteIndex::evict_prefix(const Context& context, std::string_view prefix) {
  THAW_ASSIGN(const std::string whole, checked_prefix(prefix));
  uint64_t count = 0;
  for (bool more = true; more;) {
    more = false;
    THAW_ASSIGN(const int64_t evicted,
                with_tables<int64_t>(context, "forget a prefix", [&](SqliteTables& tables) {
                  return evict_page(tables, whole, more);
                }));
    count += static_cast<uint64_t>(evicted);
  }
  return count;
}

Result<int64_t> SqliteIndex::evict_page(SqliteTables& tables, std::string_view prefix, bool& more) {
  struct Object {
    int64_t id;
    std::string group;
    SqliteChange sum;
  };
  const std::string from = std::string(prefix) + '/';
  const std::string to = std::string(prefix) + static_cast<char>('/' + 1);
  THAW_ASSIGN(auto transaction, Transaction::begin(*tables.database));
  std::vector<Object> objects;
  {
    SqliteStatement& rows = tables.objects_below;
    const SqliteReset reset(rows);
    rows.bind(prefix, std::string_view(from), std::string_view(to), kObjectsPage);
    while (true) {
      THAW_ASSIGN(const bool row, rows.step());
      if (!row) break;
      objects.push_back(
          {rows.integer(0), std::string(rows.text(2)), {rows.integer(3), rows.integer(4)}});
    }
  }
  more = static_cast<int64_t>(objects.size()) == kObjectsPage;
  int64_t count = 0;
  for (const Object& object : objects) {
    THAW_CHECK(tables.drop_blocks.bind(object.id).run());
    count += tables.database->changes();
    THAW_CHECK(tables.drop_object.bind(object.id).run());
    for (const std::string& group : {object.group, std::string()}) {
      THAW_CHECK(
          tables.sum_group.bind(std::string_view(group), -object.sum.bytes, -object.sum.blocks)
              .run());
      THAW_CHECK(tables.drop_group.bind(std::string_view(group)).run());
    }
  }
  THAW_CHECK(transaction.commit());
  return count;
}

Result<Reconciled> SqliteIndex::reconcile(const Context& context) {
  Reconciled found;
  THAW_ASSIGN(found.before, usage(context, UsageOf::all()));
  // Damage that no statement meets, like an index that is not of its table, is met here.
  THAW_CHECK(with_tables<void>(context, "check", [&](SqliteTables& tables) -> Result<> {
    const SqliteReset reset(tables.check);
    THAW_ASSIGN(const bool row, tables.check.step());
    if (row && tables.check.text(0) == "ok") return {};
    return Error(Code::corrupt, "its pages contradict one another");
  }));
  std::optional<int64_t> after = 0;
  while (after) {
    THAW_ASSIGN(after, with_tables<std::optional<int64_t>>(
                           context, "reconcile objects",
                           [&](SqliteTables& tables) { return audit_page(tables, *after); }));
  }
  // Groups are few beside blocks: they are summed up from the objects, at once.
  return with_tables<Reconciled>(
      context, "reconcile", [&](SqliteTables& tables) -> Result<Reconciled> {
        THAW_ASSIGN(auto transaction, Transaction::begin(*tables.database));
        THAW_CHECK(tables.database->run(
            "DELETE FROM blocks WHERE object IN (SELECT DISTINCT object FROM blocks EXCEPT "
            "SELECT id FROM objects);"
            "DELETE FROM groups;"
            "INSERT INTO groups SELECT owner, sum(bytes), sum(blocks) FROM objects GROUP BY owner "
            "HAVING sum(blocks) > 0;"
            "INSERT INTO groups SELECT x'', coalesce(sum(bytes), 0), coalesce(sum(blocks), 0) "
            "FROM objects"));
        THAW_ASSIGN(found.after, usage_of(tables, UsageOf::all()));
        THAW_CHECK(transaction.commit());
        return found;
      });
}

// The last object of the page; empty when there is none.
Result<std::optional<int64_t>> SqliteIndex::audit_page(SqliteTables& tables, int64_t after) {
  struct Wrong {
    int64_t id;
    SqliteChange by;
    bool any;
  };
  THAW_ASSIGN(auto transaction, Transaction::begin(*tables.database));
  std::vector<Wrong> wrong;
  std::optional<int64_t> last;
  {
    SqliteStatement& rows = tables.audit;
    const SqliteReset reset(rows);
    rows.bind(after, kObjectsPage);
    while (true) {
      THAW_ASSIGN(const bool row, rows.step());
      if (!row) break;
      last = rows.integer(0);
      const SqliteChange by{rows.integer(3) - rows.integer(1), rows.integer(4) - rows.integer(2)};
      const bool any = rows.integer(5) > 0;
      if (by.bytes != 0 || by.blocks != 0 || !any) wrong.push_back({*last, by, any});
    }
  }
  for (const Wrong& each : wrong) {
    THAW_CHECK(tables.sum_object.bind(each.id, each.by.bytes, each.by.blocks).run());
    if (!each.any) THAW_CHECK(tables.drop_object.bind(each.id).run());
  }
  THAW_CHECK(transaction.commit());
  return last;
}

}  // namespace

std::unique_ptr<RecencyIndex> make_sqlite_index(SqliteIndexOptions options, TierMeter& meter) {
  return std::make_unique<SqliteIndex>(std::move(options), meter);
}

}  // namespace thaw
