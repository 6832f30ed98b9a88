// SQLite, with owners and Results: a connection to one file, and statements on it.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/result.h"

namespace thaw {

class SqliteDatabase;

// A prepared statement. Used by one thread at a time, and no longer than its database. Text goes in
// and comes out as blobs: names may be any bytes, and compare as such.
class SqliteStatement {
 public:
  SqliteStatement() = default;

  // Values for its parameters, from ?1 on; what is bound has to live until reset(), which run() and
  // the end of a Row do.
  template <class... Values>
  SqliteStatement& bind(const Values&... values) {
    int at = 0;
    (bind_one(++at, values), ...);
    return *this;
  }
  // Whether there is a row, which the columns below then speak of.
  Result<bool> step();
  // For statements without rows.
  Result<> run();
  void reset();

  int64_t integer(int column) const { return sqlite3_column_int64(get(), column); }
  bool is_null(int column) const { return sqlite3_column_type(get(), column) == SQLITE_NULL; }
  // Until the next step.
  std::string_view text(int column) const;

 private:
  friend class SqliteDatabase;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  sqlite3_stmt* get() const { return statement_.get(); }
  void bind_one(int at, int64_t value) { sqlite3_bind_int64(get(), at, value); }
  void bind_one(int at, std::nullptr_t) { sqlite3_bind_null(get(), at); }
  void bind_one(int at, std::string_view value);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Resets a statement at its end, so that it holds no read lock.
class SqliteReset {
 public:
  explicit SqliteReset(SqliteStatement& statement) : statement_(statement) {}
  SqliteReset(const SqliteReset&) = delete;
  SqliteReset& operator=(const SqliteReset&) = delete;
  ~SqliteReset() { statement_.reset(); }

 private:
  SqliteStatement& statement_;
};

// A connection, for one thread at a time. Codes of its errors:
//   corrupt      the file is no database, is damaged, or has another schema than was expected
//   busy         others held their locks for too long
//   denied       it may not be written (or not be read)
//   not_found    its folder is not there
//   exhausted    no room
//   timeout, cancelled  the context of within() ended
class SqliteDatabase {
 public:
  // Makes the file when it is not there. Locks are waited for as long as the context of within()
  // lives, and never longer than `patience`.
  static Result<std::unique_ptr<SqliteDatabase>> open(const std::string& path,
                                                      std::chrono::milliseconds patience);
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // Until the guard ends, calls end with `context`.
  class Limit {
   public:
    Limit(SqliteDatabase& database, const Context& context);
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit() { database_.context_ = nullptr; }

   private:
    SqliteDatabase& database_;
  };

  Result<SqliteStatement> prepare(std::string_view sql);
  // One or more statements, without parameters; rows are ignored.
  Result<> run(const char* sql);
  // The first column of the first row; 0 without a row.
  Result<int64_t> number(std::string_view sql);
  // A transaction that writes from its begin on; anything but its commit() takes it back.
  class Transaction {
   public:
    static Result<Transaction> begin(SqliteDatabase& database);
    Transaction(Transaction&& other) noexcept
        : database_(std::exchange(other.database_, nullptr)) {}
    Transaction& operator=(Transaction&&) = delete;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction();
    Result<> commit();

   private:
    explicit Transaction(SqliteDatabase& database) : database_(&database) {}
    SqliteDatabase* database_;
  };

  // Empties a file in place, whatever is in it, with the locks that other processes heed.
  Result<> wipe();
  // Rows that the last statement inserted, changed or deleted.
  int64_t changes() const { return sqlite3_changes64(get()); }
  int64_t last_id() const { return sqlite3_last_insert_rowid(get()); }
  // Whether `path` still names the file that was opened.
  bool is_current() const;

 private:
  friend class SqliteStatement;
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
  };
  SqliteDatabase(std::string path, std::chrono::milliseconds patience)
      : path_(std::move(path)), patience_(patience) {}

  sqlite3* get() const { return database_.get(); }
  static Error error_of(sqlite3* database, int code);
  Error error(int code) const { return error_of(get(), code); }
  static int on_busy(void* self, int count);
  static int on_progress(void* self);
  bool remember_file();

  const std::string path_;
  const std::chrono::milliseconds patience_;
  const Context* context_ = nullptr;
  std::unique_ptr<sqlite3, Close> database_;
  Context::Clock::time_point busy_since_;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
};

}  // namespace thaw
