#include "index/redis_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/random.h"
#include "index/index_contract.h"
#include "index/redis_link.h"
#include "index/redis_scripts.h"
#include "index/turn.h"

namespace thaw {
namespace {

using Kind = BlockNote::Kind;
using Replies = std::vector<RedisReply>;

// Of one step, in which the server serves nobody else. Among 1,000,000 blocks, on a busy machine,
// an admission took it 11 to 17 us, a touch 4 us, and a block of a page 3 us.
constexpr size_t kBlocksStep = 128;
constexpr size_t kTouchesStep = 256;
constexpr size_t kPageBlocks = 500;
constexpr size_t kSentBytes = 256 * 1024;
constexpr std::string_view kScanCount = "1000";

constexpr const char* kKeys[] = {"use", "size", "sums0", "sums1", "state"};

// A server takes the argument of MATCH for a pattern.
std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\*?[]^-").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::string lengths_of(const BlockPlace& place) {
  return fmt::format("{} {}", place.object.size(), place.group.size());
}

// A call of a script, word by word.
class Call {
 public:
  Call(const RedisScript& script, std::span<const std::string> keys) : script_(script) {
    words_ = {"EVALSHA", script.sha1, std::to_string(keys.size())};
    words_.insert(words_.end(), keys.begin(), keys.end());
  }
  template <class... Words>
  Call& add(Words&&... words) {
    (words_.emplace_back(std::forward<Words>(words)), ...);
    return *this;
  }
  // With its text where the server is not known to have it.
  void add_to(RedisCommands& commands, bool with_text) const {
    std::vector<std::string_view> views(words_.begin(), words_.end());
    if (with_text) {
      views[0] = "EVAL";
      views[1] = script_.text;
    }
    commands.add(views);
  }

 private:
  const RedisScript& script_;
  std::vector<std::string> words_;
};

class RedisIndex final : public RecencyIndex {
 public:
  explicit RedisIndex(RedisIndexOptions options)
      : prefix_("{" + options.url.prefix + "}"), link_(std::move(options.url), options.patience) {
    for (const char* key : kKeys) keys_.push_back(prefix_ + ":" + key);
  }

  Result<> apply(const Context& context, std::span<const BlockNote> notes) override;
  Result<std::vector<std::optional<Timestamp>>> last_use(
      const Context& context, std::span<const ObjectKey> blocks) override;
  Result<ColdPage> coldest(const Context& context, Timestamp before, size_t limit,
                           std::string_view after) override;
  Result<IndexUsage> usage(const Context& context, const UsageOf& of) override;
  Result<uint64_t> evict_prefix(const Context& context, std::string_view prefix) override;
  Result<Reconciled> reconcile(const Context& context) override;
  std::string describe() const override { return link_.describe() + " under " + prefix_; }

 private:
  const std::string& use_key() const { return keys_[0]; }
  const std::string& size_key() const { return keys_[1]; }
  Call call(const RedisScript& script) const { return {script, keys_}; }

  Result<Replies> exchange(const Context& context, const RedisCommands& commands);
  Result<RedisReply> ask(const Context& context, const Call& call);
  template <class T, class Work>
  Result<T> named(const char* what, const Work& work) const {
    return work().within(fmt::format("{}: {}", describe(), what));
  }

  Result<> apply_all(const Context& context, std::span<const BlockNote> notes,
                     std::span<const BlockPlace> places);
  void add_step(RedisCommands& commands, std::span<const BlockNote> notes,
                std::span<const BlockPlace> places, bool with_text) const;
  Result<> read_page(const Context& context, int64_t bound, size_t limit,
                     std::optional<Cursor>& cursor, std::vector<IndexedBlock>& blocks);
  Result<uint64_t> evict_page(const Context& context, std::span<const std::string> blocks);
  Result<> count_page(const Context& context, const std::string& mark,
                      std::span<const std::string> blocks);
  // A page of what a sorted set or hash holds: its names, without their values.
  Result<std::vector<std::string>> scan(const Context& context, std::string_view verb,
                                        const std::string& key, std::string_view pattern,
                                        std::string& cursor);

  const std::string prefix_;
  std::vector<std::string> keys_;
  Turn turn_;
  RedisLink link_;
};

// --- exchanges

Result<Replies> RedisIndex::exchange(const Context& context, const RedisCommands& commands) {
  THAW_ASSIGN(const auto held, turn_.take(context));
  return link_.exchange(context, commands);
}

bool lacks_script(const RedisReply& reply) {
  return reply.is_error() && reply.text.starts_with("NOSCRIPT");
}

Result<RedisReply> RedisIndex::ask(const Context& context, const Call& call) {
  for (const bool with_text : {false, true}) {
    RedisCommands commands;
    call.add_to(commands, with_text);
    THAW_ASSIGN(Replies replies, exchange(context, commands));
    if (lacks_script(replies.front()) && !with_text) continue;
    if (replies.front().is_error()) return error_of(replies.front());
    return std::move(replies.front());
  }
  return Error(Code::internal, "a script without a place");
}

// --- notes

Result<> RedisIndex::apply(const Context& context, std::span<const BlockNote> notes) {
  THAW_ASSIGN(const auto places, places_of(notes));
  return named<void>("take notes", [&] { return apply_all(context, notes, places); });
}

// Steps of one kind, in their order, many in one journey. A step whose script the server lacks has
// not happened while later ones may have: all of the journey is done again, which does no harm.
Result<> RedisIndex::apply_all(const Context& context, std::span<const BlockNote> notes,
                               std::span<const BlockPlace> places) {
  size_t at = 0;
  while (at < notes.size()) {
    size_t end = at;
    for (const bool with_text : {false, true}) {
      RedisCommands commands;
      end = at;
      while (end < notes.size() && commands.bytes().size() < kSentBytes) {
        const Kind kind = notes[end].kind;
        const size_t most = kind == Kind::touch ? kTouchesStep : kBlocksStep;
        size_t size = 1;
        while (size < most && end + size < notes.size() && notes[end + size].kind == kind) ++size;
        add_step(commands, notes.subspan(end, size), places.subspan(end, size), with_text);
        end += size;
      }
      THAW_ASSIGN(const Replies replies, exchange(context, commands));
      if (!with_text && std::any_of(replies.begin(), replies.end(), lacks_script)) continue;
      for (const RedisReply& reply : replies) {
        if (reply.is_error()) return error_of(reply);
      }
      break;
    }
    at = end;
  }
  return {};
}

void RedisIndex::add_step(RedisCommands& commands, std::span<const BlockNote> notes,
                          std::span<const BlockPlace> places, bool with_text) const {
  if (notes.front().kind == Kind::touch) {
    std::vector<std::string> uses;
    uses.reserve(notes.size());
    std::vector<std::string_view> words = {"ZADD", use_key(), "GT"};
    words.reserve(notes.size() * 2 + 3);
    for (const BlockNote& note : notes) {
      uses.push_back(std::to_string(use_of(note.at)));
      words.emplace_back(uses.back());
      words.emplace_back(note.block.text());
    }
    commands.add(words);
    return;
  }
  const bool admits = notes.front().kind == Kind::admit;
  Call step = call(admits ? redis_admit_script() : redis_evict_script());
  for (size_t i = 0; i < notes.size(); ++i) {
    step.add(std::to_string(use_of(notes[i].at)));
    if (admits) step.add(std::to_string(notes[i].bytes));
    step.add(lengths_of(places[i]), notes[i].block.text());
  }
  step.add_to(commands, with_text);
}

// --- questions

Result<std::vector<std::optional<Timestamp>>> RedisIndex::last_use(
    const Context& context, std::span<const ObjectKey> blocks) {
  using Uses = std::vector<std::optional<Timestamp>>;
  THAW_CHECK(check_blocks(blocks));
  return named<Uses>("ask for uses", [&]() -> Result<Uses> {
    Uses uses;
    while (uses.size() < blocks.size()) {
      const auto step =
          blocks.subspan(uses.size(), std::min(blocks.size() - uses.size(), kPageBlocks));
      std::vector<std::string_view> words = {"ZMSCORE", use_key()};
      for (const ObjectKey& block : step) words.emplace_back(block.text());
      RedisCommands commands;
      commands.add(words);
      THAW_ASSIGN(const Replies replies, exchange(context, commands));
      THAW_ASSIGN(const auto* scores, list_of(replies.front(), step.size()));
      for (const RedisReply& score : *scores) {
        uses.emplace_back();
        if (score.kind == RedisReply::Kind::nil) continue;
        THAW_ASSIGN(const int64_t use, number_of(score));
        uses.back() = time_of(use);
      }
    }
    return uses;
  });
}

Result<ColdPage> RedisIndex::coldest(const Context& context, Timestamp before, size_t limit,
                                     std::string_view after) {
  THAW_CHECK(check_limit(limit));
  THAW_ASSIGN(auto cursor, cursor_of(after));
  limit = std::min<size_t>(limit, INT32_MAX);
  return named<ColdPage>("look for the coldest", [&]() -> Result<ColdPage> {
    ColdPage page;
    // One more tells whether there is another page.
    while (page.blocks.size() <= limit) {
      const size_t had = page.blocks.size();
      const size_t wanted = std::min(limit + 1 - had, kPageBlocks);
      THAW_CHECK(read_page(context, bound_of(before), wanted, cursor, page.blocks));
      if (page.blocks.size() < had + wanted) return page;
    }
    page.blocks.pop_back();
    const IndexedBlock& last = page.blocks.back();
    page.next = text_of(Cursor{use_of(last.last_use), last.block.text()});
    return page;
  });
}

Result<> RedisIndex::read_page(const Context& context, int64_t bound, size_t limit,
                               std::optional<Cursor>& cursor, std::vector<IndexedBlock>& blocks) {
  Call step = call(redis_coldest_script());
  step.add(std::to_string(bound), std::to_string(limit));
  if (cursor) step.add(std::to_string(cursor->use), cursor->block);
  THAW_ASSIGN(const RedisReply reply, ask(context, step));
  THAW_ASSIGN(const auto* found, list_of(reply));
  if (found->size() % 3 != 0 || found->size() > limit * 3) return unexpected(reply);
  for (size_t i = 0; i < found->size(); i += 3) {
    auto name = ObjectKey::parse((*found)[i].text);
    THAW_ASSIGN(const int64_t use, number_of((*found)[i + 1]));
    if (!name || use < 0 || use > kUseMost) {
      return Error(Code::unavailable, "the server answered a block that has no name or use");
    }
    IndexedBlock block{*std::move(name), time_of(use), std::nullopt};
    if (!(*found)[i + 2].text.empty()) {
      THAW_ASSIGN(const int64_t bytes, number_of((*found)[i + 2]));
      block.bytes = static_cast<uint64_t>(std::max<int64_t>(bytes, 0));
    }
    cursor = Cursor{use, block.block.text()};
    blocks.push_back(std::move(block));
  }
  return {};
}

Result<IndexUsage> RedisIndex::usage(const Context& context, const UsageOf& of) {
  return named<IndexUsage>("ask for sums", [&]() -> Result<IndexUsage> {
    const std::string name = of.what == UsageOf::What::all      ? "a"
                             : of.what == UsageOf::What::object ? "o" + of.name
                                                                : "g" + of.name;
    Call step = call(redis_usage_script());
    step.add(name);
    THAW_ASSIGN(const RedisReply reply, ask(context, step));
    THAW_ASSIGN(const auto* sums, list_of(reply, 2));
    THAW_ASSIGN(const int64_t bytes, number_of(sums->front()));
    THAW_ASSIGN(const int64_t blocks, number_of(sums->back()));
    // Less than nothing is what a server makes of sums that somebody removed.
    return IndexUsage{static_cast<uint64_t>(std::max<int64_t>(bytes, 0)),
                      static_cast<uint64_t>(std::max<int64_t>(blocks, 0))};
  });
}

// --- walks

Result<std::vector<std::string>> RedisIndex::scan(const Context& context, std::string_view verb,
                                                  const std::string& key, std::string_view pattern,
                                                  std::string& cursor) {
  RedisCommands commands;
  commands.add({verb, key, cursor, "MATCH", pattern, "COUNT", kScanCount});
  THAW_ASSIGN(Replies replies, exchange(context, commands));
  THAW_ASSIGN(const auto* parts, list_of(replies.front(), 2));
  THAW_ASSIGN(const auto* pairs, list_of(parts->back()));
  if (!parts->front().is_text() || pairs->size() % 2 != 0) return unexpected(replies.front());
  std::vector<std::string> names;
  for (size_t i = 0; i < pairs->size(); i += 2) names.push_back((*pairs)[i].text);
  cursor = parts->front().text;
  return names;
}

Result<uint64_t> RedisIndex::evict_prefix(const Context& context, std::string_view prefix) {
  THAW_ASSIGN(const std::string whole, checked_prefix(prefix));
  return named<uint64_t>("forget a prefix", [&]() -> Result<uint64_t> {
    uint64_t count = 0;
    std::string cursor = "0";
    const std::string pattern = escaped(whole) + "/*";
    do {
      THAW_ASSIGN(auto names, scan(context, "ZSCAN", use_key(), pattern, cursor));
      std::erase_if(names, [&](const std::string& name) {
        const auto place = place_of_block(name);
        return !place || !lies_in(place->object, whole);
      });
      for (size_t at = 0; at < names.size(); at += kBlocksStep) {
        const size_t size = std::min(names.size() - at, kBlocksStep);
        THAW_ASSIGN(const uint64_t evicted,
                    evict_page(context, std::span(names).subspan(at, size)));
        count += evicted;
      }
    } while (cursor != "0");
    return count;
  });
}

Result<uint64_t> RedisIndex::evict_page(const Context& context,
                                        std::span<const std::string> blocks) {
  Call step = call(redis_evict_script());
  for (const std::string& block : blocks) {
    step.add(std::to_string(kUseMost), lengths_of(*place_of_block(block)), block);
  }
  THAW_ASSIGN(const RedisReply reply, ask(context, step));
  THAW_ASSIGN(const int64_t count, number_of(reply));
  return static_cast<uint64_t>(std::max<int64_t>(count, 0));
}

Error superseded() { return {Code::busy, "another process began to reconcile"}; }

Result<Reconciled> RedisIndex::reconcile(const Context& context) {
  Reconciled found;
  THAW_ASSIGN(found.before, usage(context, UsageOf::all()));
  auto done = named<void>("reconcile", [&]() -> Result<> {
    const std::string mark = RandomId::fresh().hex().substr(0, 8);
    Call begin = call(redis_begin_script());
    begin.add(mark);
    THAW_CHECK(ask(context, begin));
    std::string cursor = "0";
    do {
      THAW_ASSIGN(auto names, scan(context, "HSCAN", size_key(), "*", cursor));
      std::erase_if(names, [](const std::string& name) { return !place_of_block(name); });
      for (size_t at = 0; at < names.size(); at += kBlocksStep) {
        const size_t size = std::min(names.size() - at, kBlocksStep);
        THAW_CHECK(count_page(context, mark, std::span(names).subspan(at, size)));
      }
    } while (cursor != "0");
    Call finish = call(redis_finish_script());
    finish.add(mark);
    THAW_ASSIGN(const RedisReply reply, ask(context, finish));
    THAW_ASSIGN(const int64_t taken, number_of(reply));
    return taken == 1 ? Result<>() : superseded();
  });
  if (!done) return std::move(done).error();
  THAW_ASSIGN(found.after, usage(context, UsageOf::all()));
  return found;
}

Result<> RedisIndex::count_page(const Context& context, const std::string& mark,
                                std::span<const std::string> blocks) {
  Call step = call(redis_count_script());
  step.add(mark);
  for (const std::string& block : blocks) step.add(lengths_of(*place_of_block(block)), block);
  THAW_ASSIGN(const RedisReply reply, ask(context, step));
  THAW_ASSIGN(const int64_t counted, number_of(reply));
  return counted == 1 ? Result<>() : superseded();
}

}  // namespace

std::unique_ptr<RecencyIndex> make_redis_index(RedisIndexOptions options) {
  return std::make_unique<RedisIndex>(std::move(options));
}

}  // namespace thaw
