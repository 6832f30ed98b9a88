// The tables of index.sqlite, and every statement that is run on them. Internal to sqlite_index.
#pragma once

#include <memory>

#include "index/sqlite_database.h"

namespace thaw {

// A connection to an index, with its statements. `group` '' of `groups` is the whole tier.
struct SqliteTables {
  // Makes the tables in an empty file. Code::corrupt when the file holds something else,
  // Code::invalid when it is of a newer thaw.
  static Result<std::unique_ptr<SqliteTables>> open(const std::string& path,
                                                    std::chrono::milliseconds patience,
                                                    const Context& context);

  std::unique_ptr<SqliteDatabase> database;
  SqliteStatement find_object;    // name → id
  SqliteStatement add_object;     // name, group
  SqliteStatement sum_object;     // id, bytes, blocks (changes)
  SqliteStatement drop_object;    // id, if no block is left
  SqliteStatement sum_group;      // name, bytes, blocks (changes)
  SqliteStatement drop_group;     // name, if it is empty
  SqliteStatement touch;          // object, name, use
  SqliteStatement find_block;     // object, name → use, bytes
  SqliteStatement put_block;      // object, name, use, bytes
  SqliteStatement drop_block;     // object, name
  SqliteStatement coldest;        // bound, use, object, name, limit → use, name, bytes, object
  SqliteStatement object_usage;   // name → bytes, blocks
  SqliteStatement group_usage;    // name → bytes, blocks
  SqliteStatement objects_below;  // name, from, to, limit → id, name, group, bytes, blocks
  SqliteStatement drop_blocks;    // object
  // after id, limit → id, bytes, blocks, bytes and blocks as they should be, any
  SqliteStatement audit;
  SqliteStatement check;  // → "ok"
};

}  // namespace thaw
