#include "snapshot/policy.h"

namespace thaw {

std::optional<Refused> Policy::judge(const TreeTotals& tree,
                                     const std::optional<TreeTotals>& newest,
                                     uint64_t refusals_so_far) const {
  if (tree.files == 0 && tree.others == 0 && !allow_empty) return Refused::empty;
  if (!newest || allow_shrink) return std::nullopt;
  const double bound = static_cast<double>(newest->bytes) * shrink_below;
  if (static_cast<double>(tree.bytes) >= bound) return std::nullopt;
  if (accept_after_refusals != 0 && refusals_so_far >= accept_after_refusals) return std::nullopt;
  return Refused::shrunken;
}

}  // namespace thaw
