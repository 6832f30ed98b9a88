// What runs inside the Redis server: each script is one atomic step over a bounded number of
// blocks. docs/decisions/0010 says how the keys hang together.
#pragma once

#include <string>
#include <string_view>

namespace thaw {

// KEYS of every script:
//   1 use   sorted set: block → last use in microseconds
//   2 size  hash: block → "bytes" or "bytes:mark", for blocks of known size
//   3, 4 sums  hashes, one of them in force: "b" or "n" (bytes, blocks), "a", "o" or "g" (all,
//              object, group), and a name → a number
//   5 state hash: "live" → 0 or 1, the sums in force; while sums are computed anew also "mark"
struct RedisScript {
  explicit RedisScript(std::string_view body);

  std::string text;
  std::string sha1;  // as EVALSHA wants it
};

// ARGV, four for each block: use, bytes, lengths of the object's and the group's names "o g",
// block.
const RedisScript& redis_admit_script();
// ARGV, three for each block: use, lengths "o g", block. Answers how many blocks are forgotten.
const RedisScript& redis_evict_script();
// ARGV: bound, limit, and to go on behind a block its use and name. Answers three for each block:
// name, use, bytes or "".
const RedisScript& redis_coldest_script();
// ARGV: "a", "o" or "g" with a name. Answers bytes and blocks.
const RedisScript& redis_usage_script();
// ARGV: mark. From now on every change counts in the other sums, too, for blocks with that mark.
const RedisScript& redis_begin_script();
// ARGV: mark, then two for each block: lengths "o g", block. Counts the block, unless it has the
// mark, and gives it the mark. Answers 0 when another mark is in force.
const RedisScript& redis_count_script();
// ARGV: mark. The other sums are in force. Answers 0 when another mark is.
const RedisScript& redis_finish_script();

}  // namespace thaw
