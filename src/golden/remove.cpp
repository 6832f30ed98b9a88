#include "golden/remove.h"

#include <algorithm>

#include "golden/clones.h"
#include "golden/lock.h"
#include "golden/processes.h"
#include "golden/recover.h"

namespace thaw::golden {
namespace {

Error no_such(const Place& place, uint64_t generation) {
  return {Code::not_found, "no golden " + Ref{place.name(), generation}.text()};
}

bool has(const std::vector<uint64_t>& numbers, uint64_t number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// `busy` when somebody needs it. The answer is its lock: while it is held nobody begins to clone.
Result<Lock> claim(const Place& place, uint64_t generation) {
  const std::string name = Ref{place.name(), generation}.text();
  THAW_ASSIGN(const auto live, live_on(place, generation));
  if (!live.empty())
    return Error(Code::busy, name + " has a live clone: " + live.front().record.target);
  const std::string path = place.path_of(generation) + "/lock";
  THAW_ASSIGN(std::optional<Lock> lock, try_lock_file(path, Share::exclusive));
  if (lock) return *std::move(lock);
  return Error(Code::busy, name + " is being cloned by " + text_of(holders_of(path, 5)));
}

// What lies under the name's lock, with what was interrupted completed.
struct Held {
  Lock lock;
  Pointer pointer;
  std::vector<uint64_t> numbers;
};

Result<Held> hold(const Context& context, const Place& place) {
  THAW_ASSIGN(Lock lock, lock_file(context, place.lock_path(), Share::exclusive));
  THAW_CHECK(complete_interrupted(place));
  THAW_ASSIGN(const Pointer pointer, place.pointer());
  THAW_ASSIGN(std::vector<uint64_t> numbers, place.generations());
  return Held{std::move(lock), pointer, std::move(numbers)};
}

}  // namespace

Result<std::vector<GenerationState>> generations_of(const Place& place) {
  THAW_ASSIGN(const Pointer pointer, place.pointer());
  THAW_ASSIGN(const auto numbers, place.generations());
  std::vector<GenerationState> states;
  for (const uint64_t number : numbers) {
    GenerationState state;
    state.number = number;
    state.is_current = number == pointer.current;
    state.last_use_ns = place.last_use_ns(number);
    THAW_ASSIGN(const auto live, live_on(place, number));
    state.live_clones = live.size();
    auto description = place.description(number);
    if (description) state.description = *std::move(description);
    states.push_back(std::move(state));
  }
  return states;
}

Result<Rollback> roll_back(const Context& context, const Place& place,
                           std::optional<uint64_t> generation) {
  THAW_ASSIGN(const Held held, hold(context, place));
  const uint64_t current = held.pointer.current;
  if (!generation) {
    const auto older = std::find_if(held.numbers.begin(), held.numbers.end(),
                                    [&](uint64_t number) { return number < current; });
    if (older == held.numbers.end())
      return Error(Code::not_found,
                   place.name().text() + " has no generation older than the current one");
    generation = *older;
  }
  if (!has(held.numbers, *generation)) return no_such(place, *generation);
  if (*generation != current) {
    THAW_CHECK(place.set_pointer({.current = *generation, .last = held.pointer.last}));
  }
  place.touch(*generation);
  return Rollback{.previous = current, .current = *generation};
}

Result<std::vector<uint64_t>> remove(const Context& context, const Place& place,
                                     std::optional<uint64_t> generation, Act act) {
  std::vector<WorkFolder> gone;
  std::vector<uint64_t> wanted;
  {
    THAW_ASSIGN(const Held held, hold(context, place));
    wanted = generation ? std::vector<uint64_t>{*generation} : held.numbers;
    if (generation && !has(held.numbers, *generation)) return no_such(place, *generation);
    if (generation && *generation == held.pointer.current) {
      return Error(Code::busy, Ref{place.name(), generation}.text() +
                                   " is current: roll back first, or remove the golden whole");
    }
    // All before the first goes, so that a refusal changes nothing.
    std::vector<Lock> locks;
    for (const uint64_t number : wanted) {
      THAW_ASSIGN(Lock lock, claim(place, number));
      locks.push_back(std::move(lock));
    }
    if (act == Act::plan) return wanted;
    if (!generation && held.pointer.current != 0)
      THAW_CHECK(place.set_pointer({.current = 0, .last = held.pointer.last}));
    for (const uint64_t number : wanted) {
      THAW_ASSIGN(WorkFolder folder, WorkFolder::of_generation(place, number));
      gone.push_back(std::move(folder));
    }
  }
  // Without the lock: trees take time.
  for (const WorkFolder& each : gone) THAW_CHECK(each.remove(context, place));
  return wanted;
}

std::vector<Doomed> plan_collection(const std::vector<GenerationState>& generations,
                                    const CollectOptions& options, int64_t now_ns) {
  std::vector<GenerationState> sorted = generations;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.number > b.number; });
  std::vector<Doomed> doomed;
  std::vector<GenerationState> kept;
  uint64_t freed = 0;
  auto give_up = [&](const GenerationState& each, Why why) {
    doomed.push_back({each.number, each.description.totals.bytes, why});
    freed += each.description.totals.bytes;
  };
  for (size_t i = 0; i < sorted.size(); ++i) {
    const GenerationState& each = sorted[i];
    if (each.is_current || each.live_clones > 0) continue;
    const int64_t idle_ns = now_ns - each.last_use_ns;
    if (i >= options.keep_last) {
      give_up(each, Why::beyond_keep_last);
    } else if (options.unused && idle_ns > std::chrono::nanoseconds(*options.unused).count()) {
      give_up(each, Why::unused);
    } else {
      kept.push_back(each);
    }
  }
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) {
    return std::pair(a.last_use_ns, a.number) < std::pair(b.last_use_ns, b.number);
  });
  for (const GenerationState& each : kept) {
    if (freed >= options.free_bytes) break;
    give_up(each, Why::disk);
  }
  return doomed;
}

Result<bool> collect(const Context& context, const Place& place, uint64_t generation) {
  auto removed = remove(context, place, generation, Act::execute);
  if (removed) return true;
  const Code code = removed.error().code();
  if (code == Code::busy || code == Code::not_found) return false;
  return std::move(removed).error();
}

}  // namespace thaw::golden
