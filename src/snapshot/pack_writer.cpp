#include "snapshot/pack_writer.h"

#include <mutex>

#include "base/log.h"
#include "base/task_group.h"
#include "snapshot/catalog.h"
#include "snapshot/transfer.h"

namespace thaw {
namespace {

// Small enough to sit in memory several times, large enough that a request's latency is lost in it.
constexpr size_t kFullPackBytes = 16 * 1024 * 1024;
// Full, and with the frame that made it so.
constexpr size_t kExpectedPackBytes = kFullPackBytes + 2 * 1024 * 1024;

}  // namespace

struct PackWriter::State {
  State(const Context& context, ObjectStore& object_store, unsigned at_once)
      : parent(context), store(object_store), uploads(context, at_once, 1) {}

  // Takes the pack being filled out of the way; its number in `packs` is the last one.
  Buffer seal_locked() {
    Buffer object = filling.finish();
    packs.back().size_bytes = object.size();
    open = false;
    return object;
  }

  void put(const RandomId& id, Buffer object) {
    uploads.submit([this, id, object = std::move(object)](const Context& context) -> Result<> {
      THAW_ASSIGN(const PutOutcome outcome,
                  store.put(context, pack_object(id), object, PutMode::create));
      // The name is random: if it is taken, then by this put, whose answer was lost on the way.
      (void)outcome;
      return {};
    });
  }

  const Context& parent;
  ObjectStore& store;
  std::mutex mutex;
  PackBuilder filling{kExpectedPackBytes};
  bool open = false;
  std::vector<PackRef> packs;
  uint64_t frame_bytes = 0;
  TaskGroup uploads;  // last: its tasks use the members above
};

PackWriter::PackWriter(const Context& context, ObjectStore& store, unsigned uploads)
    : state_(std::make_unique<State>(context, store, uploads)) {}
PackWriter::~PackWriter() = default;

Result<PackWriter::Place> PackWriter::add(const FrameRecord& record, Bytes stored) {
  Place place{};
  Buffer full;
  RandomId id;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->open) {
      state_->packs.push_back({RandomId::fresh(), 0, 0});
      state_->open = true;
    }
    place.pack = static_cast<uint32_t>(state_->packs.size() - 1);
    place.offset = state_->filling.add(record, stored);
    state_->frame_bytes += stored.size();
    if (state_->filling.size_bytes() >= kFullPackBytes) {
      id = state_->packs.back().id;
      full = state_->seal_locked();
    }
  }
  if (!full.empty()) state_->put(id, std::move(full));
  if (auto failure = state_->uploads.failure()) return *std::move(failure);
  return place;
}

Result<std::vector<PackRef>> PackWriter::finish() {
  if (state_->open) {
    const RandomId id = state_->packs.back().id;
    state_->put(id, state_->seal_locked());
  }
  THAW_CHECK(state_->uploads.wait());
  return state_->packs;
}

void PackWriter::abandon() {
  // Uploads under way end first, so that none puts a pack after its removal.
  state_->uploads.stop_and_join();
  std::vector<ObjectKey> names;
  for (const PackRef& pack : state_->packs) names.push_back(pack_object(pack.id));
  if (names.empty()) return;
  const Context root;  // outlives its child
  const Context brief = root.within(farewell_time(state_->parent));
  const auto removed = state_->store.remove(brief, names);
  if (!removed)
    log::info("packs of a failed save stay for the collector: {}", removed.error().text());
}

uint64_t PackWriter::frame_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->frame_bytes;
}

}  // namespace thaw
