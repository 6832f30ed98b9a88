#include "golden/publish.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "golden/copy_tree.h"
#include "golden/held.h"
#include "golden/making.h"
#include "golden/promote.h"
#include "golden/recover.h"
#include "golden/subvolume.h"
#include "snapshot/catalog.h"
#include "snapshot/stage.h"

namespace thaw::golden {
namespace {

constexpr const char* kNameLabel = "golden.name";
constexpr const char* kGenerationLabel = "golden.generation";
constexpr const char* kSourceLabel = "golden.source";

Policy judged_already() {
  Policy policy;
  policy.allow_empty = true;
  policy.allow_shrink = true;
  return policy;
}

class Fetching {
 public:
  Fetching(const Root& root, ObjectStore& store, const FetchRequest& request,
           const WallClock& clock, Progress* progress)
      : root_(root),
        store_(store),
        request_(request),
        clock_(clock),
        progress_(progress),
        place_(root, request.name) {}

  Result<FetchReport> run(const Context& context);

 private:
  Result<bool> is_here(const Entry* newest);
  Result<> restore_to(const Context& context, const WorkFolder& folder, const Entry& entry);
  Result<> convert(const Context& context, const WorkFolder& folder) const;
  Result<> bring(const Context& context, const WorkFolder& folder, const Entry& entry);

  const Root& root_;
  ObjectStore& store_;
  const FetchRequest& request_;
  const WallClock& clock_;
  Progress* progress_;
  const Place place_;
  FetchReport report_;
};

// Whether this machine has what is asked for. `newest` is null where any generation will do.
Result<bool> Fetching::is_here(const Entry* newest) {
  if (!place_.exists()) return false;
  THAW_ASSIGN(const Pointer pointer, place_.pointer());
  report_.generation = pointer.current;
  if (pointer.current == 0) return false;
  if (newest == nullptr) return true;
  THAW_ASSIGN(const auto numbers, place_.generations());
  return std::any_of(numbers.begin(), numbers.end(), [&](uint64_t number) {
    const auto description = place_.description(number);
    return description && description->snapshot == newest->ids.snapshot.hex();
  });
}

// A restore swaps a folder in, and subvolumes cannot be made of folders.
Result<> Fetching::convert(const Context& context, const WorkFolder& folder) const {
  THAW_CHECK(folder.make_tree());
  const std::string name = place_.path_of(folder.entry()) + "/fetched";
  THAW_ASSIGN(const UniqueFd from, open_at(folder.fd(), "fetched", O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const UniqueFd to, open_at(folder.fd(), "tree", O_RDONLY | O_DIRECTORY));
  auto copied = copy_tree(context, from.get(), to.get(), name,
                          {.threads = request_.threads, .progress = progress_});
  if (!copied) return std::move(copied).error();
  return remove_tree(context, folder.fd(), "fetched");
}

Result<> Fetching::restore_to(const Context& context, const WorkFolder& folder,
                              const Entry& entry) {
  const bool converts = is_on_btrfs(folder.fd());
  RestoreRequest request{
      .ref = {request_.key, entry.generation},
      .target = place_.path_of(folder.entry()) + (converts ? "/fetched" : "/tree")};
  request.damage_dir = request_.damage_dir;
  request.threads = request_.threads;
  request.distance = request_.distance;
  THAW_ASSIGN(const RestoreReport restored, restore(context, store_, request, progress_));
  report_.fetched_bytes = restored.fetched_bytes;
  report_.store_generation = restored.generation;
  return converts ? convert(context, folder) : Result<>();
}

Result<> Fetching::bring(const Context& context, const WorkFolder& folder, const Entry& entry) {
  PromoteRequest request{.name = request_.name, .path = ""};
  request.policy = judged_already();
  request.threads = request_.threads;
  request.snapshot = entry.ids.snapshot.hex();
  request.labels = entry.labels;
  if (const auto source = request.labels.find(kSourceLabel); source != request.labels.end())
    request.source = source->second;
  std::erase_if(request.labels,
                [](const auto& label) { return label.first.starts_with("golden."); });
  THAW_ASSIGN(const PromoteReport promoted,
              promote_made(context, root_, request, folder, clock_, progress_));
  report_.fetched = true;
  report_.generation = promoted.description.generation;
  return {};
}

Result<FetchReport> Fetching::run(const Context& context) {
  const bool any = request_.freshness == Freshness::any;
  if (any) {
    THAW_ASSIGN(const bool is_here_already, is_here(nullptr));
    if (is_here_already) return report_;
  }
  // Before anything is made: a golden that nobody knows leaves nothing behind.
  THAW_ASSIGN(const auto newest, find_newest(context, store_, request_.key));
  if (!newest) {
    THAW_ASSIGN(const bool has_one, is_here(nullptr));
    if (has_one) return report_;
    return Error(Code::not_found,
                 fmt::format("no golden {} on this machine, and no snapshot of {} in the store",
                             request_.name.text(), request_.key.text()));
  }
  THAW_CHECK(check_room(root_.path, request_.min_free));
  THAW_CHECK(place_.make());
  THAW_CHECK(recover(context, place_));
  if (progress_ != nullptr) progress_->begin("waiting", 0, 0);
  THAW_ASSIGN(const Lock lock, lock_making(context, place_, Wait::for_others));
  THAW_ASSIGN(const bool is_here_by_now, is_here(any ? nullptr : &*newest));
  if (is_here_by_now) return report_;

  THAW_ASSIGN(const WorkFolder folder, WorkFolder::make(place_));
  auto done = restore_to(context, folder, *newest);
  if (done) done = bring(context, folder, *newest);
  if (done) return report_;
  const auto removed = folder.remove(Context(), place_);
  if (!removed) log::info("the next command removes it: {}", removed.error().text());
  return std::move(done).error().within("fetch " + request_.name.text());
}

}  // namespace

Result<Key> default_key(const Name& name) { return Key::parse("golden/" + name.text()); }

Result<Published> publish(const Context& context, const Place& place, uint64_t if_current,
                          ObjectStore& store, SaveRequest request, Progress* progress) {
  if (!place.exists()) return Error(Code::not_found, "no golden " + place.name().text());
  THAW_CHECK(recover(context, place));
  THAW_ASSIGN(const Lock lock, lock_making(context, place, Wait::for_others));
  THAW_ASSIGN(const HeldGeneration held, hold_generation(context, place, Ref{place.name()}));
  if (if_current != 0 && held.number != if_current) {
    return Error(Code::exists, fmt::format("{} is current by now: {} is not published",
                                           Ref{place.name(), held.number}.text(),
                                           Ref{place.name(), if_current}.text()));
  }
  THAW_ASSIGN(Description description, place.description(held.number));
  request.path = place.tree_of(held.number);
  request.policy = judged_already();
  for (const auto& [name, value] : description.labels) request.labels[name] = value;
  request.labels[kNameLabel] = description.name;
  request.labels[kGenerationLabel] = std::to_string(held.number);
  if (!description.source.empty()) request.labels[kSourceLabel] = description.source;
  THAW_ASSIGN(const SaveReport saved, save(context, store, request, progress));
  description.snapshot = saved.ids.snapshot.hex();
  THAW_CHECK(
      replace_file(place.path_of(held.number) + "/golden.json", write_description(description)));
  return Published{.generation = held.number,
                   .key = request.key,
                   .store_generation = saved.generation,
                   .snapshot = *description.snapshot,
                   .unchanged = saved.outcome == SaveOutcome::unchanged,
                   .new_bytes = saved.new_bytes};
}

Result<FetchReport> fetch(const Context& context, const Root& root, ObjectStore& store,
                          const FetchRequest& request, const WallClock& clock, Progress* progress) {
  return Fetching(root, store, request, clock, progress).run(context);
}

}  // namespace thaw::golden
