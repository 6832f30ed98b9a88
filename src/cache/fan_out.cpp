#include "cache/fan_out.h"

#include <chrono>
#include <mutex>

#include "base/task_group.h"

namespace thaw::cache {

const char* name_of(State state) {
  switch (state) {
    case State::restored:
      return "restored";
    case State::equal:
      return "equal";
    case State::miss:
      return "miss";
    case State::saved:
      return "saved";
    case State::exists:
      return "exists";
    case State::unchanged:
      return "unchanged";
    case State::empty:
      return "empty";
    case State::read_only:
      return "read_only";
    case State::failed:
      return "failed";
  }
  return "";
}

std::vector<Record> fan_out(const Context& context, const Job& job,
                            const std::vector<Definition>& definitions, unsigned concurrency,
                            const Work& work, const std::function<void(const Record&)>& done) {
  using Clock = std::chrono::steady_clock;
  std::vector<Record> records(definitions.size());
  std::vector<char> begun(definitions.size(), 0);
  std::mutex telling;
  const auto one = [&](const Context& inner, unsigned, size_t index) -> Result<> {
    begun[index] = 1;
    const auto began = Clock::now();
    Record record = work(inner, job, definitions[index]);
    record.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
    const std::lock_guard lock(telling);
    if (done) done(record);
    records[index] = std::move(record);
    // What fails is in its record: an error here would end the others.
    return {};
  };
  const auto all = parallel_for(context, concurrency, definitions.size(), one);
  for (size_t i = 0; i < definitions.size(); ++i) {
    if (begun[i] != 0) continue;
    records[i].name = definitions[i].name;
    records[i].state = State::failed;
    const auto alive = context.alive();
    records[i].error = !all     ? all.error()
                       : !alive ? alive.error()
                                : Error(Code::cancelled, "it was not begun");
    records[i].message = records[i].error->text();
  }
  return records;
}

}  // namespace thaw::cache
