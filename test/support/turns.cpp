#include "support/turns.h"

#include <algorithm>

namespace thaw::test {

Turns::Turns(size_t most_actors) : turns_(most_actors) {
  for (size_t i = 0; i < most_actors; ++i) threads_.emplace_back([this, i] { work(i); });
}

Turns::~Turns() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  for (std::condition_variable& turn : turns_) turn.notify_one();
  for (std::thread& thread : threads_) thread.join();
}

void Turns::play(std::vector<Actor> actors, uint64_t seed) {
  std::unique_lock lock(mutex_);
  actors_ = std::move(actors);
  random_.seed(seed);
  rests_until_.assign(actors_.size(), 0);
  moment_ = 0;
  for (size_t i = 0; i < actors_.size(); ++i) playing_.push_back(i);
  choose();
  ended_.wait(lock, [this] { return playing_.empty(); });
}

void Turns::yield(size_t actor) {
  std::unique_lock lock(mutex_);
  choose();
  wait_for(lock, actor);
}

void Turns::choose() {
  constexpr uint64_t kRests = 25;         // one in so many turns sends somebody to rest
  constexpr uint64_t kLongestRest = 400;  // turns
  ++moment_;
  if (!playing_.empty() && random_() % kRests == 0)
    rests_until_[playing_[random_() % playing_.size()]] = moment_ + random_() % kLongestRest;
  std::vector<size_t> awake;
  for (const size_t actor : playing_) {
    if (rests_until_[actor] <= moment_) awake.push_back(actor);
  }
  if (awake.empty()) awake = playing_;
  current_ = awake.empty() ? kNobody : awake[random_() % awake.size()];
  if (current_ == kNobody)
    ended_.notify_one();
  else
    turns_[current_].notify_one();
}

void Turns::wait_for(std::unique_lock<std::mutex>& lock, size_t actor) {
  turns_[actor].wait(lock, [this, actor] { return current_ == actor || closing_; });
}

void Turns::work(size_t actor) {
  std::unique_lock lock(mutex_);
  while (true) {
    wait_for(lock, actor);
    if (closing_) return;
    lock.unlock();
    actors_[actor]();
    lock.lock();
    std::erase(playing_, actor);
    choose();
  }
}

}  // namespace thaw::test
