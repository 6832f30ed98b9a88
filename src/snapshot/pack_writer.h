// Collects frames from many threads into packs and puts these into the store.
#pragma once

#include <memory>
#include <vector>

#include "base/context.h"
#include "format/manifest.h"
#include "format/pack.h"
#include "object/store.h"

namespace thaw {

// add() is thread-safe. A full pack is put by threads of its own while others fill the next one: in
// memory are those on their way, one that waits and the one that is filled.
class PackWriter {
 public:
  // The store and the context outlive the writer.
  PackWriter(const Context& context, ObjectStore& store, unsigned uploads);
  ~PackWriter();

  struct Place {
    uint32_t pack;  // number of the pack among those of this writer
    uint32_t offset;
  };
  // Fails with the first put's error once one failed.
  Result<Place> add(const FrameRecord& record, Bytes stored);
  // Puts the last pack and waits until all are durable. By number. Call it once, when no add()
  // runs.
  Result<std::vector<PackRef>> finish();
  // Takes the packs that were put away again: nothing refers to them. Best-effort, under a short
  // time limit of its own; what stays is the collector's.
  void abandon();
  // Bytes of frames so far.
  uint64_t frame_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thaw
