#include "golden/clones.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/random.h"
#include "golden/overlay.h"
#include "golden/subvolume.h"
#include "snapshot/stage.h"

namespace thaw::golden {
namespace {

constexpr std::string_view kRecord = ".json";
constexpr std::string_view kLock = ".lock";

std::string lock_path(const std::string& folder, const std::string& id) {
  return folder + "/" + id + std::string(kLock);
}
std::string record_path(const std::string& folder, const std::string& id) {
  return folder + "/" + id + std::string(kRecord);
}

// The id of a file with this ending; empty for all else.
std::optional<std::string> id_of(const std::string& file, std::string_view ending) {
  if (!file.ends_with(ending)) return std::nullopt;
  std::string id = file.substr(0, file.size() - ending.size());
  if (!RandomId::parse(id)) return std::nullopt;
  return id;
}

Result<> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "remove " + path);
}

Result<std::optional<Clone>> read_one(const std::string& folder, const std::string& id) {
  const std::string path = record_path(folder, id);
  auto bytes = read_file(path, 1024 * 1024);
  if (!bytes && bytes.error().code() == Code::not_found) return std::optional<Clone>();
  if (!bytes) return std::move(bytes).error();
  auto record = read_clone(as_text(bytes->view()));
  if (!record) return std::move(record).error().within(path);
  return std::optional<Clone>(Clone{id, *std::move(record)});
}

}  // namespace

Result<std::vector<Clone>> clones_of(const Place& place) {
  THAW_ASSIGN(const auto files, list_folder(place.clones()));
  std::vector<Clone> clones;
  for (const std::string& file : files) {
    const auto id = id_of(file, kRecord);
    if (!id) continue;
    auto clone = read_one(place.clones(), *id);
    if (!clone && clone.error().code() != Code::corrupt) return std::move(clone).error();
    if (!clone) log::warn("a record that can be removed: {}", clone.error().text());
    if (clone && *clone) clones.push_back(**std::move(clone));
  }
  return clones;
}

namespace {

Result<> check_overlays_are_known(const Place& place, const std::vector<Clone>& clones) {
  THAW_ASSIGN(const auto overlays, list_folder(place.overlays()));
  for (const std::string& id : overlays) {
    const bool is_known = std::any_of(clones.begin(), clones.end(),
                                      [&](const Clone& clone) { return clone.id == id; });
    const auto record = is_known ? Result<std::optional<Clone>>(std::optional<Clone>())
                                 : read_one(place.clones(), id);
    if (record) continue;
    return Error(record.error())
        .within("an overlay clone needs a generation, and does not say which");
  }
  return {};
}

}  // namespace

CloneState state_of(const Place& place, const Clone& clone) {
  if (clone.record.method == Method::overlay) {
    if (overlay_is_mounted(clone.id)) return CloneState::whole;
    bool is_there = false;
    folder_id_of(place.overlays() + "/" + clone.id + "/upper", is_there);
    return is_there && clone.record.tree ? CloneState::unmounted : CloneState::gone;
  }
  if (clone.record.method == Method::snapshot && !clone.record.tree) {
    // Killed between the snapshot and its record: the snapshot tells of what it is one.
    const auto found = subvolume_at(clone.record.target);
    const auto source = subvolume_at(place.tree_of(clone.record.generation));
    const bool is_its = found && source && found->parent_uuid == source->uuid;
    return is_its ? CloneState::whole : CloneState::gone;
  }
  bool is_there = false;
  const FolderId id = folder_id_of(clone.record.target, is_there);
  return is_there && clone.record.tree == id ? CloneState::whole : CloneState::gone;
}

Result<std::vector<Clone>> live_on(const Place& place, uint64_t generation) {
  THAW_ASSIGN(std::vector<Clone> clones, clones_of(place));
  THAW_CHECK(check_overlays_are_known(place, clones));
  std::erase_if(clones, [&](const Clone& clone) {
    return clone.record.method != Method::overlay || clone.record.generation != generation ||
           state_of(place, clone) == CloneState::gone;
  });
  return clones;
}

ClaimedClone::ClaimedClone(std::string folder, std::string id, CloneRecord record, Lock lock)
    : folder_(std::move(folder)),
      id_(std::move(id)),
      record_(std::move(record)),
      lock_(std::move(lock)) {}

Result<ClaimedClone> ClaimedClone::make(const Place& place, const CloneRecord& record) {
  // Between making a lock file and locking it, recovery may take it for an abandoned one.
  for (int attempt = 0; attempt < 10; ++attempt) {
    std::string id = RandomId::fresh().hex();
    const std::string path = lock_path(place.clones(), id);
    THAW_CHECK(make_lock_file(path));
    auto lock = try_lock_file(path, Share::exclusive);
    if (!lock && lock.error().code() != Code::not_found) return std::move(lock).error();
    if (!lock || !*lock) continue;
    ClaimedClone claim(place.clones(), std::move(id), record, **std::move(lock));
    THAW_CHECK(claim.write());
    return claim;
  }
  return Error(Code::busy, "cannot keep a clone's record in " + place.clones());
}

Result<std::optional<ClaimedClone>> ClaimedClone::take(const Place& place, const Clone& clone) {
  const std::string path = lock_path(place.clones(), clone.id);
  THAW_CHECK(make_lock_file(path));
  auto lock = try_lock_file(path, Share::exclusive);
  if (!lock && lock.error().code() != Code::not_found) return std::move(lock).error();
  if (!lock || !*lock) return std::optional<ClaimedClone>();
  ClaimedClone claim(place.clones(), clone.id, clone.record, **std::move(lock));
  // What it was before this lock may have been changed by who had it.
  THAW_ASSIGN(const std::optional<Clone> now, read_one(place.clones(), clone.id));
  if (!now) return std::optional<ClaimedClone>();
  claim.record_ = now->record;
  return std::optional<ClaimedClone>(std::move(claim));
}

ClaimedClone::~ClaimedClone() {
  // A lock file without a lock is nobody's: it goes while it is still held.
  if (lock_) ::unlink(lock_path(folder_, id_).c_str());
}

Result<> ClaimedClone::write() const {
  return replace_file(record_path(folder_, id_), write_clone(record_));
}

Result<> ClaimedClone::remove() const { return remove_file(record_path(folder_, id_)); }

namespace {

// The stages that a clone which was killed left beside its target.
void remove_stages(const Context& context, const std::string& target) {
  const size_t slash = target.rfind('/');
  const auto parent = open_path(slash == 0 ? "/" : target.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (parent) remove_abandoned_stages(context, parent->get());
}

Result<> recover_one(const Context& context, const Place& place, const Clone& seen) {
  CloneState state = state_of(place, seen);
  const bool settled = state == CloneState::unmounted ||
                       (state == CloneState::whole && seen.record.tree.has_value());
  if (settled) return {};
  THAW_ASSIGN(std::optional<ClaimedClone> claim, ClaimedClone::take(place, seen));
  if (!claim) return {};
  const Clone clone{seen.id, claim->record()};
  state = state_of(place, clone);
  if (state == CloneState::whole && !clone.record.tree) {
    // Killed between the mount, or the snapshot, and its record.
    bool is_there = false;
    claim->record().tree = folder_id_of(clone.record.target, is_there);
    return claim->write();
  }
  if (state != CloneState::gone) return {};
  remove_stages(context, clone.record.target);
  if (clone.record.method == Method::overlay) {
    THAW_CHECK(remove_overlay(context, place, clone.id));
    if (clone.record.made_target) ::rmdir(clone.record.target.c_str());
  }
  log::info("forgot the clone {}, which is no more", clone.record.target);
  return claim->remove();
}

// Lock files and half-written records of processes that are gone, and overlays without a record.
Result<> remove_leftovers(const Context& context, const Place& place) {
  THAW_ASSIGN(const auto files, list_folder(place.clones()));
  for (const std::string& file : files) {
    const auto id = id_of(file, kLock);
    const auto torn = id_of(file, ".json.new");
    if (!id && !torn) continue;
    const std::string path = lock_path(place.clones(), id ? *id : *torn);
    auto lock = try_lock_file(path, Share::exclusive);
    const bool gone = !lock && lock.error().code() == Code::not_found;
    if (!gone && (!lock || !*lock)) continue;
    // Killed after its clone came into place, and before its stage was removed.
    const auto clone = read_one(place.clones(), id ? *id : *torn);
    if (clone && *clone) remove_stages(context, (*clone)->record.target);
    THAW_CHECK(remove_file(place.clones() + "/" + file));
  }
  THAW_ASSIGN(const auto overlays, list_folder(place.overlays()));
  for (const std::string& id : overlays) {
    if (!RandomId::parse(id)) continue;
    const auto clone = read_one(place.clones(), id);
    if (clone && !*clone && !overlay_is_mounted(id)) THAW_CHECK(remove_overlay(context, place, id));
  }
  return {};
}

}  // namespace

Result<> recover_clones(const Context& context, const Place& place) {
  THAW_ASSIGN(const std::vector<Clone> clones, clones_of(place));
  for (const Clone& clone : clones) {
    const auto recovered = recover_one(context, place, clone);
    // One clone that cannot be put right keeps no other command from its work.
    if (!recovered) log::warn("{}: {}", clone.record.target, recovered.error().text());
    THAW_CHECK(context.alive());
  }
  return remove_leftovers(context, place);
}

}  // namespace thaw::golden
