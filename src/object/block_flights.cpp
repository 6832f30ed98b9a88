#include "object/block_flights.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace thaw {

struct BlockFlights::Seat::Flight {
  std::string block;
  std::condition_variable landed;
  std::optional<Landing> landing;  // under the flights' mutex
};

BlockFlights::Seat& BlockFlights::Seat::operator=(Seat&& other) noexcept {
  std::swap(flights_, other.flights_);
  std::swap(flight_, other.flight_);
  std::swap(leads_, other.leads_);
  return *this;
}

BlockFlights::Seat::~Seat() {
  if (leads()) land({});
}

void BlockFlights::Seat::land(Landing landing) {
  const std::shared_ptr<Flight> flight = std::exchange(flight_, nullptr);
  {
    const std::lock_guard lock(flights_->mutex_);
    flight->landing = std::move(landing);
    flights_->under_way_.erase(flight->block);
    ++flights_->landed_[slot_of(flight->block)];
  }
  flight->landed.notify_all();
}

Result<BlockFlights::Landing> BlockFlights::Seat::wait(const Context& context) {
  std::unique_lock lock(flights_->mutex_);
  while (!flight_->landing) {
    THAW_CHECK(context.alive());
    // Stop flags do not signal the condition, so look at them a few times a second.
    auto until = Context::Clock::now() + std::chrono::milliseconds(50);
    if (context.deadline()) until = std::min(until, *context.deadline());
    flight_->landed.wait_until(lock, until);
  }
  return *flight_->landing;
}

size_t BlockFlights::slot_of(std::string_view block) {
  return std::hash<std::string_view>()(block) % std::tuple_size_v<decltype(landed_)>;
}

uint64_t BlockFlights::landed(std::string_view block) const {
  const std::lock_guard lock(mutex_);
  return landed_[slot_of(block)];
}

BlockFlights::Seat BlockFlights::join(const std::string& block, uint64_t seen) {
  Seat seat;
  const std::lock_guard lock(mutex_);
  const auto found = under_way_.find(block);
  if (found == under_way_.end() && landed_[slot_of(block)] != seen) return seat;
  seat.flights_ = this;
  if (found != under_way_.end()) {
    seat.flight_ = found->second;
    return seat;
  }
  seat.flight_ = std::make_shared<Flight>();
  seat.flight_->block = block;
  seat.leads_ = true;
  under_way_.emplace(block, seat.flight_);
  return seat;
}

}  // namespace thaw
