// Turns: several actors of which one runs at a time, in an order that a seed decides. Real code can
// so be interleaved at chosen points, again and again in the same way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace thaw::test {

// The threads live as long as this does, so that a play costs no thread. Not for several players.
class Turns {
 public:
  using Actor = std::function<void()>;

  explicit Turns(size_t most_actors);
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Runs the actors to their ends. Precondition: no more of them than most_actors.
  void play(std::vector<Actor> actors, uint64_t seed);
  // For actors: others may go first, as often as they like.
  void yield(size_t actor);

 private:
  static constexpr size_t kNobody = SIZE_MAX;

  void work(size_t actor);
  // Chooses who is next among those that play; nobody when none does. Under the lock.
  void choose();
  void wait_for(std::unique_lock<std::mutex>& lock, size_t actor);

  std::mutex mutex_;
  std::vector<std::condition_variable> turns_;
  std::condition_variable ended_;
  std::vector<Actor> actors_;
  std::vector<size_t> playing_;
  // At times an actor rests for a while, so that others get far between two of its steps: those
  // orders are the interesting ones, and fair dice hardly ever throw them.
  std::vector<uint64_t> rests_until_;  // by actor
  uint64_t moment_ = 0;
  size_t current_ = kNobody;
  std::mt19937_64 random_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace thaw::test
