// A store that fails as the test's script says.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "object/store.h"

namespace thaw::test {

enum class Verb { get, put, find, list, remove };
enum class When {
  before,  // the operation does not take place
  after,   // it took place, and its answer is lost
};

struct Call {
  Verb verb;
  When when;
  uint64_t number;         // of its verb, from 1
  std::string name;        // of the object (the first, for remove), or the prefix
  bool is_create = false;  // a put with PutMode::create
};

// What goes wrong, and the count of what was asked. The test keeps it and changes it at any time,
// also while calls are under way. Thread-safe; outlives its store.
class Faults {
 public:
  // Runs at each call, before and after the operation; an error that it answers is the call's. May
  // block or do anything else to interleave, and may use this object. Hooks run in the order added.
  using Hook = std::function<Result<>(const Call&)>;
  void on_call(Hook hook);
  // The n-th call of its verb from now on fails, 1 being the next.
  void fail(Verb verb, uint64_t nth, When when, Error error);
  // The answer of the n-th get from now on is passed through `change`.
  void change_get(uint64_t nth, std::function<Buffer(Buffer)> change);
  // Every call fails before it begins, until heal(). For a backend that is down.
  void fail_all(Error error);
  // Forgets all that was scripted.
  void heal();

  uint64_t calls(Verb verb) const;

 private:
  friend class FaultyStore;
  struct GetChange {
    uint64_t number;
    std::function<Buffer(Buffer)> change;
  };

  Call begin(Verb verb, std::string name, bool is_create);
  Result<> at(Call call, When when);
  Buffer changed(uint64_t number, Buffer bytes);

  mutable std::mutex mutex_;
  std::array<uint64_t, 5> calls_{};
  std::vector<Hook> hooks_;
  std::vector<GetChange> get_changes_;
};

// What to hand to change_get: the first `size_bytes`, or all with one bit of a byte
// inverted (of the last one, where they end before).
std::function<Buffer(Buffer)> truncated_to(size_t size_bytes);
std::function<Buffer(Buffer)> with_flipped_byte(size_t offset);

std::unique_ptr<ObjectStore> faulty(std::unique_ptr<ObjectStore> store, Faults& faults);

}  // namespace thaw::test
