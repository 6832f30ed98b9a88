// Policy: which trees may become the newest generation of a key. One for all commands that publish.
#pragma once

#include <cstdint>
#include <optional>

#include "format/tree.h"

namespace thaw {

enum class Refused { empty, shrunken };

struct Policy {
  bool allow_empty = false;
  bool allow_shrink = false;
  // A tree with less than this share of the newest generation's bytes is shrunken.
  double shrink_below = 0.5;
  // A shrunken tree is accepted by itself after so many consecutive refusals of its key, so that a
  // key that nobody watches is not stuck for ever; 0: never. An empty tree never is.
  uint32_t accept_after_refusals = 5;

  // `newest` is empty for a new key. A tree is empty when nothing but directories is in it.
  std::optional<Refused> judge(const TreeTotals& tree, const std::optional<TreeTotals>& newest,
                               uint64_t refusals_so_far) const;
};

}  // namespace thaw
