// RecencyIndex: remembers when each block of a tier was last used, and how much each object holds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"
#include "object/store.h"

namespace thaw {

// Everything is named as it lies in the tier (docs/format.md, "Blocks of tiers"):
//   a block    blocks/<store>/<object>/@/<version>-<size>/<number>
//   an object  blocks/<store>/<object>                  in all its versions
//   a group    blocks/<store>/<object's first segment>  the build's name, for raw objects
// Last uses are kept to the microsecond, rounded down, from 1970 on.

// What happened to a block. A plain value.
struct BlockNote {
  enum class Kind {
    touch,  // it was used
    admit,  // it was written into the tier, with `bytes`; that is a use, too
    evict,  // it was removed from the tier
  };
  Kind kind = Kind::touch;
  ObjectKey block;
  Timestamp at;        // when
  uint64_t bytes = 0;  // admit: as it lies there, header included; kIndexedBytesMost at most
};
constexpr uint64_t kIndexedBytesMost = uint64_t{1} << 30;

struct IndexedBlock {
  ObjectKey block;
  Timestamp last_use;
  std::optional<uint64_t> bytes;  // empty: it was touched and never admitted
};

// One page of a walk from the coldest block on.
struct ColdPage {
  std::vector<IndexedBlock> blocks;  // ascending by last use
  std::string next;                  // where the next page begins; empty: there is no more
};

// Blocks of unknown size are in no sum.
struct IndexUsage {
  uint64_t bytes = 0;
  uint64_t blocks = 0;
  bool operator==(const IndexUsage&) const = default;
};

struct UsageOf {
  enum class What { all, object, group };
  What what = What::all;
  std::string name{};
  static UsageOf all() { return {}; }
  static UsageOf object(std::string name) { return {What::object, std::move(name)}; }
  static UsageOf group(std::string name) { return {What::group, std::move(name)}; }
};

// What reconcile() found: all of the tier by the sums as they were, and as they are now.
struct Reconciled {
  IndexUsage before;
  IndexUsage after;
};

// A cache of facts about a tier: it may be behind, or empty, and is then made good by notes of what
// is there. It never knows a block twice, and its sums are those of its blocks after every call,
// whatever order, repetition, failure or crash led there.
// Thread-safe and blocking; several processes may use one index at once. Nothing waits past its
// context's deadline (without one, no longer than a few seconds for others). An index owns its
// connection and closes it at its end; it opens it when it is first asked, and anew when it broke.
// Every call costs a few round trips at most, and O(log n) for each block that it names or answers,
// where nothing else is said.
class RecencyIndex {
 public:
  virtual ~RecencyIndex() = default;

  // Takes notes, in their order. All take effect or an error is answered; then some may have, and
  // to write them again does no harm.
  //   touch  never moves a last use back. A block that is not known is known from here on, with no
  //          size.
  //   admit  as touch, and the block has this size now.
  //   evict  forgets the block, unless it was used after `at`: who removed it was then overtaken by
  //          one who put it back. What is not known is no error.
  // Code::invalid, and nothing is changed, when a name is no block's or a size too large.
  virtual Result<> apply(const Context& context, std::span<const BlockNote> notes) = 0;
  // For each block in its place; empty where it is not known.
  virtual Result<std::vector<std::optional<Timestamp>>> last_use(
      const Context& context, std::span<const ObjectKey> blocks) = 0;
  // The blocks last used before `before`, the coldest first, `limit` at most (at least 1). `after`
  // is the `next` of the page before, or empty. What stays unused while pages are read is on
  // exactly one of them. Costs the page, not the index. Code::invalid when `after` is nobody's
  // `next`.
  virtual Result<ColdPage> coldest(const Context& context, Timestamp before, size_t limit,
                                   std::string_view after) = 0;
  // Nothing, for names that are not known.
  virtual Result<IndexUsage> usage(const Context& context, const UsageOf& of) = 0;
  // Forgets all blocks of a store ("blocks/<store>") or of the objects whose names begin with whole
  // segments: "blocks/<store>/build1" is build1 and build1/rootfs, not build10. Answers how many
  // blocks that were. May cost a walk over the index. Code::invalid when `prefix` names no store.
  virtual Result<uint64_t> evict_prefix(const Context& context, std::string_view prefix) = 0;
  // Computes all sums anew from the blocks, page by page, while others go on using the index;
  // needed only after somebody else changed what lies below it. One at a time: Code::busy when
  // another process began later.
  virtual Result<Reconciled> reconcile(const Context& context) = 0;
  // Without secrets: "sqlite(/var/cache/thaw/index.sqlite)".
  virtual std::string describe() const = 0;
};

// Later than every use: coldest() before it is all that is known, also what was used by a clock
// that ran ahead.
inline constexpr Timestamp kEver{INT64_MAX};

// Notes of one kind, one for each block.
Result<> touch(RecencyIndex& index, const Context& context, std::span<const ObjectKey> blocks,
               Timestamp at);
Result<> evict(RecencyIndex& index, const Context& context, std::span<const ObjectKey> blocks,
               Timestamp at);
struct AdmittedBlock {
  ObjectKey block;
  uint64_t bytes;
};
Result<> admit(RecencyIndex& index, const Context& context, std::span<const AdmittedBlock> blocks,
               Timestamp at);

}  // namespace thaw
