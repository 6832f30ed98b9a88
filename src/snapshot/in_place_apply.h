// The part of merge and sync that changes names; for in_place.cpp.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/beneath.h"
#include "base/context.h"
#include "format/tree.h"
#include "snapshot/in_place_plan.h"
#include "snapshot/scan.h"
#include "snapshot/stage.h"
#include "snapshot/tree_writer.h"

namespace thaw {

// Puts what is new into a target. The stage holds it under the numbers of its nodes; each name in
// the target is the old thing or the new one at every moment, but for a folder of a lower layer of
// overlayfs, which can only be removed. What is referred to outlives it. One thread.
class Placing {
 public:
  // `staged` are the files that were written into the stage.
  Placing(const Tree& tree, const Scan& scan, const InPlacePlan& plan, Stage& stage,
          const std::string& target, std::vector<TreeWriter::Written> staged);

  // Makes in the stage what it lacks, as far as that needs nothing of the target: folders, and
  // links to files that are new themselves. Answers how many.
  Result<uint64_t> assemble(const Context& context);

  // Links to what is in the target already, then moves all into place. What lay in the way of
  // another type is in the stage then. Answers how many links it made.
  Result<uint64_t> put(const Context& context);

  // By node: regular files that are in place, as they were right after that.
  const std::map<uint32_t, FileStat>& placed() const { return placed_; }
  // What could not be done because somebody changes the target meanwhile: paths.
  const std::vector<std::string>& changed() const { return changed_; }

 private:
  bool comes_with_its_folder(uint32_t node) const;
  Result<uint64_t> link_to_target();
  Result<> move(uint32_t node, int folder, const std::string& name);
  Result<> place(const Context& context, uint32_t node);
  Result<> exchange(const Context& context, uint32_t node, const ParentAndName& at);
  Result<> take_turns(const Context& context, uint32_t node, const ParentAndName& at);
  void note(uint32_t node, int folder, const std::string& name);
  Error failed(const char* what, uint32_t node) const;

  const Tree& tree_;
  const Scan& scan_;
  const InPlacePlan& plan_;
  Stage& stage_;
  const std::string& target_;
  std::vector<TreeWriter::Written> staged_;            // by node
  std::unordered_map<uint32_t, uint32_t> in_the_way_;  // node -> what is there, of the scan
  std::vector<uint8_t> missing_;                       // per node: it is not in the stage
  std::map<uint32_t, FileStat> placed_;
  std::vector<std::string> changed_;
};

// Whether an error says that a name is not any more what it was a moment ago.
bool says_changed(const Error& error);

}  // namespace thaw
