#include "object/recency_index.h"

namespace thaw {
namespace {

std::vector<BlockNote> notes_of(BlockNote::Kind kind, std::span<const ObjectKey> blocks,
                                Timestamp at) {
  std::vector<BlockNote> notes;
  notes.reserve(blocks.size());
  for (const ObjectKey& block : blocks) notes.push_back({kind, block, at});
  return notes;
}

}  // namespace

Result<> touch(RecencyIndex& index, const Context& context, std::span<const ObjectKey> blocks,
               Timestamp at) {
  return index.apply(context, notes_of(BlockNote::Kind::touch, blocks, at));
}

Result<> evict(RecencyIndex& index, const Context& context, std::span<const ObjectKey> blocks,
               Timestamp at) {
  return index.apply(context, notes_of(BlockNote::Kind::evict, blocks, at));
}

Result<> admit(RecencyIndex& index, const Context& context, std::span<const AdmittedBlock> blocks,
               Timestamp at) {
  std::vector<BlockNote> notes;
  notes.reserve(blocks.size());
  for (const AdmittedBlock& each : blocks) {
    notes.push_back({BlockNote::Kind::admit, each.block, at, each.bytes});
  }
  return index.apply(context, notes);
}

}  // namespace thaw
