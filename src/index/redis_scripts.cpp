#include "index/redis_scripts.h"

#include <openssl/evp.h>

#include <array>

namespace thaw {
namespace {

// Lua compares text by the server's locale and prints large numbers in short; so bytes are compared
// one by one, and numbers are printed by "%.0f".
//
// change() notes a change of a block's size from `old` (and its mark) to `new`, either of which may
// be nil, in the sums in force; and, while others are computed, in those as well: there a block
// that had not been counted yet counts with all it has now. sum_up() writes what was noted.
constexpr std::string_view kSums = R"(
local use, size = KEYS[1], KEYS[2]
local state = redis.call('HMGET', KEYS[5], 'live', 'mark')
local live, other = KEYS[3], KEYS[4]
if state[1] == '1' then live, other = other, live end
local mark = state[2]
local function parse(value)
  if not value then return nil, nil end
  local bytes, own = string.match(value, '^(%d+):?(.*)$')
  return tonumber(bytes), own
end
local noted = {[live] = {}, [other] = {}}
local function note(key, name, bytes, blocks)
  local sums = noted[key]
  local sum = sums[name]
  if not sum then
    sum = {0, 0}
    sums[name] = sum
  end
  sum[1] = sum[1] + bytes
  sum[2] = sum[2] + blocks
end
local function note_all(key, lengths, block, bytes, blocks)
  local o, g = string.match(lengths, '^(%d+) (%d+)$')
  note(key, 'a', bytes, blocks)
  note(key, 'o' .. string.sub(block, 1, tonumber(o)), bytes, blocks)
  note(key, 'g' .. string.sub(block, 1, tonumber(g)), bytes, blocks)
end
local function change(lengths, block, old, own, new)
  local bytes = (new or 0) - (old or 0)
  local blocks = (new and 1 or 0) - (old and 1 or 0)
  note_all(live, lengths, block, bytes, blocks)
  if not mark then return end
  if old and own == mark then
    note_all(other, lengths, block, bytes, blocks)
  elseif new then
    note_all(other, lengths, block, new, 1)
  end
end
local function sum_up()
  for key, sums in pairs(noted) do
    for name, sum in pairs(sums) do
      if sum[1] ~= 0 then redis.call('HINCRBY', key, 'b' .. name, string.format('%.0f', sum[1])) end
      if sum[2] ~= 0 then
        local left = redis.call('HINCRBY', key, 'n' .. name, string.format('%.0f', sum[2]))
        if left == 0 then redis.call('HDEL', key, 'b' .. name, 'n' .. name) end
      end
    end
  end
end
)";

// The first write is one that a full server refuses: then nothing has changed.
constexpr std::string_view kAdmit = R"(
for i = 1, #ARGV, 4 do
  local block, bytes = ARGV[i + 3], ARGV[i + 1]
  redis.call('ZADD', use, 'GT', ARGV[i], block)
  local old, own = parse(redis.call('HGET', size, block))
  redis.call('HSET', size, block, mark and bytes .. ':' .. mark or bytes)
  change(ARGV[i + 2], block, old, own, tonumber(bytes))
end
sum_up()
return 1
)";

// The first write is one that a full server takes; it then takes the others, too.
constexpr std::string_view kEvict = R"(
local count = 0
for i = 1, #ARGV, 3 do
  local block = ARGV[i + 2]
  local last = redis.call('ZSCORE', use, block)
  if not last or tonumber(last) <= tonumber(ARGV[i]) then
    local old, own = parse(redis.call('HGET', size, block))
    if last then redis.call('ZREM', use, block) end
    if old then
      redis.call('HDEL', size, block)
      change(ARGV[i + 1], block, old, own, nil)
    end
    if last or old then count = count + 1 end
  end
end
sum_up()
return count
)";

// Among blocks of one use the place behind a block is found by halving.
constexpr std::string_view kColdest = R"(
local use, size = KEYS[1], KEYS[2]
local bound, limit, from, block = '(' .. ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local function is_behind(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end
local first = 0
if from then
  first = redis.call('ZCOUNT', use, '-inf', '(' .. from)
  local last = redis.call('ZCOUNT', use, '-inf', from)
  while first < last do
    local middle = math.floor((first + last) / 2)
    local found = redis.call('ZRANGE', use, middle, middle)[1]
    if is_behind(found, block) then last = middle else first = middle + 1 end
  end
end
local last = math.min(first + limit, redis.call('ZCOUNT', use, '-inf', bound)) - 1
if last < first then return {} end
local found = redis.call('ZRANGE', use, first, last, 'WITHSCORES')
local names, answer = {}, {}
for i = 1, #found, 2 do names[#names + 1] = found[i] end
local sizes = redis.call('HMGET', size, unpack(names))
for i = 1, #names do
  answer[#answer + 1] = names[i]
  answer[#answer + 1] = found[2 * i]
  answer[#answer + 1] = sizes[i] and string.match(sizes[i], '^%d+') or ''
end
return answer
)";

constexpr std::string_view kUsage = R"(
local live = redis.call('HGET', KEYS[5], 'live') == '1' and KEYS[4] or KEYS[3]
local sums = redis.call('HMGET', live, 'b' .. ARGV[1], 'n' .. ARGV[1])
return {sums[1] or '0', sums[2] or '0'}
)";

constexpr std::string_view kBegin = R"(
redis.call('UNLINK', other)
redis.call('HSET', KEYS[5], 'mark', ARGV[1])
return 1
)";

// A size without a last use is what is left of a block: somebody removed the other half.
constexpr std::string_view kCount = R"(
if mark ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  local block = ARGV[i + 1]
  local old, own = parse(redis.call('HGET', size, block))
  if old and not redis.call('ZSCORE', use, block) then
    redis.call('HDEL', size, block)
    change(ARGV[i], block, old, own, nil)
  elseif old and own ~= mark then
    redis.call('HSET', size, block, string.format('%.0f', old) .. ':' .. mark)
    note_all(other, ARGV[i], block, old, 1)
  end
end
sum_up()
return 1
)";

constexpr std::string_view kFinish = R"(
if mark ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[5], 'live', state[1] == '1' and '0' or '1')
redis.call('HDEL', KEYS[5], 'mark')
redis.call('UNLINK', live)
return 1
)";

std::string hex_sha1(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4U];
    hex += "0123456789abcdef"[digest[i] & 15U];
  }
  return hex;
}

std::string with_sums(std::string_view body) { return std::string(kSums) + std::string(body); }

}  // namespace

RedisScript::RedisScript(std::string_view body) : text(body), sha1(hex_sha1(body)) {}

const RedisScript& redis_admit_script() {
  static const RedisScript script(with_sums(kAdmit));
  return script;
}
const RedisScript& redis_evict_script() {
  static const RedisScript script(with_sums(kEvict));
  return script;
}
const RedisScript& redis_coldest_script() {
  static const RedisScript script(kColdest);
  return script;
}
const RedisScript& redis_usage_script() {
  static const RedisScript script(kUsage);
  return script;
}
const RedisScript& redis_begin_script() {
  static const RedisScript script(with_sums(kBegin));
  return script;
}
const RedisScript& redis_count_script() {
  static const RedisScript script(with_sums(kCount));
  return script;
}
const RedisScript& redis_finish_script() {
  static const RedisScript script(with_sums(kFinish));
  return script;
}

}  // namespace thaw
