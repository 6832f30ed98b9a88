#include "index/sqlite_tables.h"

#include <fmt/format.h>

namespace thaw {
namespace {

constexpr int64_t kApplication = 0x74686177;  // "thaw"
constexpr int64_t kVersion = 1;

// `coldest` holds whole names, so that a page of it is one run of the file: with the object's name
// looked up beside it, 10,000 blocks of 1,000,000 took four times as long as of 20,000.
constexpr const char* kSchema = R"(
CREATE TABLE objects(
  id INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  owner BLOB NOT NULL,
  bytes INTEGER NOT NULL DEFAULT 0,
  blocks INTEGER NOT NULL DEFAULT 0);
CREATE TABLE groups(
  name BLOB NOT NULL PRIMARY KEY,
  bytes INTEGER NOT NULL,
  blocks INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks(
  object INTEGER NOT NULL,
  name BLOB NOT NULL,
  use INTEGER NOT NULL,
  bytes INTEGER,
  PRIMARY KEY(object, name)) WITHOUT ROWID;
CREATE INDEX coldest ON blocks(use, object, name, bytes);
PRAGMA application_id = 1952997751;
PRAGMA user_version = 1;
)";

struct Text {
  SqliteStatement SqliteTables::*statement;
  const char* sql;
};
constexpr Text kTexts[] = {
    {&SqliteTables::find_object, "SELECT id FROM objects WHERE name = ?1"},
    {&SqliteTables::add_object, "INSERT INTO objects(name, owner) VALUES(?1, ?2)"},
    {&SqliteTables::sum_object,
     "UPDATE objects SET bytes = bytes + ?2, blocks = blocks + ?3 WHERE id = ?1"},
    {&SqliteTables::drop_object,
     "DELETE FROM objects WHERE id = ?1 AND NOT EXISTS(SELECT 1 FROM blocks WHERE object = ?1)"},
    {&SqliteTables::sum_group,
     "INSERT INTO groups VALUES(?1, ?2, ?3) ON CONFLICT(name) DO "
     "UPDATE SET bytes = bytes + ?2, blocks = blocks + ?3"},
    {&SqliteTables::drop_group, "DELETE FROM groups WHERE name = ?1 AND bytes = 0 AND blocks = 0"},
    {&SqliteTables::touch,
     "INSERT INTO blocks VALUES(?1, ?2, ?3, NULL) ON CONFLICT(object, name) DO "
     "UPDATE SET use = ?3 WHERE use < ?3"},
    {&SqliteTables::find_block, "SELECT use, bytes FROM blocks WHERE object = ?1 AND name = ?2"},
    {&SqliteTables::put_block,
     "INSERT INTO blocks VALUES(?1, ?2, ?3, ?4) ON CONFLICT(object, name) DO "
     "UPDATE SET use = max(use, ?3), bytes = ?4"},
    {&SqliteTables::drop_block, "DELETE FROM blocks WHERE object = ?1 AND name = ?2"},
    {&SqliteTables::coldest,
     "SELECT use, name, bytes, object FROM blocks INDEXED BY coldest "
     "WHERE use < ?1 AND (use, object, name) > (?2, ?3, ?4) "
     "ORDER BY use, object, name LIMIT ?5"},
    {&SqliteTables::object_usage, "SELECT bytes, blocks FROM objects WHERE name = ?1"},
    {&SqliteTables::group_usage, "SELECT bytes, blocks FROM groups WHERE name = ?1"},
    {&SqliteTables::objects_below,
     "SELECT id, name, owner, bytes, blocks FROM objects "
     "WHERE name = ?1 OR (name > ?2 AND name < ?3) LIMIT ?4"},
    {&SqliteTables::drop_blocks, "DELETE FROM blocks WHERE object = ?1"},
    {&SqliteTables::check, "PRAGMA integrity_check(1)"},
    {&SqliteTables::audit,
     "SELECT o.id, o.bytes, o.blocks, coalesce(sum(b.bytes), 0), count(b.bytes), count(b.object) "
     "FROM (SELECT id, bytes, blocks FROM objects WHERE id > ?1 ORDER BY id LIMIT ?2) AS o "
     "LEFT JOIN blocks AS b ON b.object = o.id GROUP BY o.id ORDER BY o.id"},
};

Result<> check_version(SqliteDatabase& database, bool& is_empty) {
  THAW_ASSIGN(const int64_t application, database.number("PRAGMA application_id"));
  THAW_ASSIGN(const int64_t version, database.number("PRAGMA user_version"));
  THAW_ASSIGN(const int64_t tables, database.number("SELECT count(*) FROM sqlite_schema"));
  is_empty = tables == 0;
  if (is_empty) return {};
  if (application != kApplication) return Error(Code::corrupt, "it is no index of blocks");
  if (version > kVersion) return Error(Code::invalid, "it was written by a newer thaw");
  if (version < kVersion) return Error(Code::corrupt, "its tables are not complete");
  return {};
}

Result<> make_tables(SqliteDatabase& database) {
  // A loss of power costs the last transactions and damages nothing; a checkpoint is all that
  // waits for the disk.
  THAW_CHECK(
      database.run("PRAGMA synchronous = NORMAL; PRAGMA journal_mode = WAL;"
                   "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192;"));
  bool is_empty = false;
  THAW_CHECK(check_version(database, is_empty));
  if (!is_empty) return {};
  THAW_ASSIGN(auto transaction, SqliteDatabase::Transaction::begin(database));
  // Another process may have been first.
  THAW_CHECK(check_version(database, is_empty));
  if (is_empty) THAW_CHECK(database.run(kSchema));
  return transaction.commit();
}

}  // namespace

Result<std::unique_ptr<SqliteTables>> SqliteTables::open(const std::string& path,
                                                         std::chrono::milliseconds patience,
                                                         const Context& context) {
  auto tables = std::make_unique<SqliteTables>();
  THAW_ASSIGN(tables->database, SqliteDatabase::open(path, patience));
  const SqliteDatabase::Limit limit(*tables->database, context);
  THAW_CHECK(make_tables(*tables->database));
  for (const Text& text : kTexts) {
    THAW_ASSIGN((*tables).*text.statement, tables->database->prepare(text.sql));
  }
  return tables;
}

}  // namespace thaw
