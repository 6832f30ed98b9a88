#include "index/sqlite_database.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

namespace thaw {
namespace {

Code code_of(int code, int system_errno) {
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    // Our own statements are right: a table that is missing or differs is not ours.
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
      return Code::corrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::busy;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Code::denied;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return Code::exhausted;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      if (system_errno == 0) return Code::unavailable;
      return errno_error(system_errno, "").code();
    case SQLITE_INTERRUPT:
      return Code::cancelled;
    default:
      return Code::internal;
  }
}

}  // namespace

// --- statements

void SqliteStatement::bind_one(int at, std::string_view value) {
  // A blob without bytes is not the same as NULL, which a null pointer would be.
  const char* data = value.data() == nullptr ? "" : value.data();
  sqlite3_bind_blob64(get(), at, data, value.size(), SQLITE_STATIC);
}

Result<bool> SqliteStatement::step() {
  const int code = sqlite3_step(get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteDatabase::error_of(sqlite3_db_handle(get()), code);
}

Result<> SqliteStatement::run() {
  auto stepped = step();
  reset();
  return stepped ? Result<>() : std::move(stepped).error();
}

void SqliteStatement::reset() { sqlite3_reset(get()); }

std::string_view SqliteStatement::text(int column) const {
  const void* data = sqlite3_column_blob(get(), column);
  const int size = sqlite3_column_bytes(get(), column);
  if (data == nullptr || size <= 0) return {};
  return {static_cast<const char*>(data), static_cast<size_t>(size)};
}

// --- databases

Result<std::unique_ptr<SqliteDatabase>> SqliteDatabase::open(const std::string& path,
                                                             std::chrono::milliseconds patience) {
  // What a link leads to may be anybody's, and what is no index is emptied. SQLite's own NOFOLLOW
  // would refuse links above the file, too.
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode))
    return Error(Code::denied, path + " is a symbolic link");
  std::unique_ptr<SqliteDatabase> opened(new SqliteDatabase(path, patience));
  sqlite3* raw = nullptr;
  // NOMUTEX: one thread at a time is the caller's promise.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  opened->database_.reset(raw);
  if (code != SQLITE_OK) {
    Error error = error_of(raw, code);
    // SQLite tries once more to read alone: so it says of a file that may not be made, too.
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    if (error.code() == Code::not_found && ::access(folder.c_str(), F_OK) == 0) {
      return Error(Code::denied, error.text());
    }
    return error;
  }
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_handler(raw, on_busy, opened.get());
  constexpr int kSteps = 2000;  // of SQLite's machine, about 0.1 ms
  sqlite3_progress_handler(raw, kSteps, on_progress, opened.get());
  // Its last connection would else remove "-wal" by its name, which may be another's by then.
  int keep = 1;
  sqlite3_file_control(raw, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
  // The end of a short command does not wait for a disk: whoever fills the log checkpoints it.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  if (!opened->remember_file()) return errno_error(errno, "look at " + path);
  return opened;
}

SqliteDatabase::Limit::Limit(SqliteDatabase& database, const Context& context)
    : database_(database) {
  database_.context_ = &context;
}

Error SqliteDatabase::error_of(sqlite3* database, int code) {
  const int system_errno = database == nullptr ? 0 : sqlite3_system_errno(database);
  const char* text = database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database);
  return {code_of(code, system_errno), fmt::format("{} ({})", text, code)};
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  SqliteStatement statement;
  statement.statement_.reset(raw);
  if (code != SQLITE_OK) return error(code);
  return statement;
}

Result<> SqliteDatabase::run(const char* sql) {
  const int code = sqlite3_exec(get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Result<>() : error(code);
}

Result<int64_t> SqliteDatabase::number(std::string_view sql) {
  THAW_ASSIGN(SqliteStatement statement, prepare(sql));
  THAW_ASSIGN(const bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

// SQLite's own way to start anew over a damaged file: a transaction like another, so that whoever
// has the file open sees it change under its locks, and no "-wal" is left that belongs to another.
Result<> SqliteDatabase::wipe() {
  sqlite3_db_config(get(), SQLITE_DBCONFIG_RESET_DATABASE, 1, 0);
  auto wiped = run("VACUUM");
  sqlite3_db_config(get(), SQLITE_DBCONFIG_RESET_DATABASE, 0, 0);
  return wiped;
}

bool SqliteDatabase::remember_file() {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return false;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  return true;
}

bool SqliteDatabase::is_current() const {
  struct stat status {};
  return ::stat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

// Whether to try once more. `count` is 0 at the first try for a lock.
int SqliteDatabase::on_busy(void* self, int count) {
  using std::chrono::milliseconds;
  auto& database = *static_cast<SqliteDatabase*>(self);
  const auto now = Context::Clock::now();
  if (count == 0) database.busy_since_ = now;
  if (now - database.busy_since_ >= database.patience_) return 0;
  milliseconds pause{std::min(1 + count, 10)};
  if (database.context_ != nullptr) {
    if (!database.context_->alive()) return 0;
    pause = std::min(pause, database.context_->remaining().value_or(pause));
  }
  std::this_thread::sleep_for(pause);
  return 1;
}

// Whether to stop.
int SqliteDatabase::on_progress(void* self) {
  const auto& database = *static_cast<const SqliteDatabase*>(self);
  return database.context_ != nullptr && !database.context_->alive() ? 1 : 0;
}

// --- transactions

Result<SqliteDatabase::Transaction> SqliteDatabase::Transaction::begin(SqliteDatabase& database) {
  THAW_CHECK(database.run("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Result<> SqliteDatabase::Transaction::commit() { return database_->run("COMMIT"); }

SqliteDatabase::Transaction::~Transaction() {
  // Some errors have taken it back already.
  if (database_ == nullptr || sqlite3_get_autocommit(database_->get()) != 0) return;
  // A rollback is not to be interrupted.
  const Context* context = std::exchange(database_->context_, nullptr);
  static_cast<void>(database_->run("ROLLBACK"));
  database_->context_ = context;
}

}  // namespace thaw
