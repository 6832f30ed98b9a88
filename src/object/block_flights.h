// BlockFlights: one fetch of a block however many threads of the process want it.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "object/store.h"

namespace thaw {

// A block as it came from below; no bytes when it lies past the object's end.
struct FetchedBlock {
  Buffer bytes;
  ObjectInfo info;
};

// Thread-safe. Who joins first leads: it fetches and lands the flight, and while it leads it waits
// for no other flight, so flights cannot wait for each other in a circle.
class BlockFlights {
 public:
  // How a flight ended, for those who wait.
  struct Landing {
    enum class How {
      block,       // here it is
      look_again,  // it may be in the tier now; or its leader gave up
      failed,      // the store failed, in a way that another try may mend
      final,  // the store said something that will not change soon (not_found, denied, invalid)
    };
    How how = How::look_again;
    std::optional<FetchedBlock> block;
    std::optional<Error> error;
  };

  // A reader's place in a flight. Move-only.
  class Seat {
   public:
    Seat() = default;
    Seat(Seat&& other) noexcept = default;
    Seat& operator=(Seat&& other) noexcept;
    // A leader that did not land lets somebody else look again.
    ~Seat();

    bool leads() const { return flight_ != nullptr && leads_; }
    bool waits() const { return flight_ != nullptr && !leads_; }
    // Precondition: leads(). The seat is empty afterwards.
    void land(Landing landing);
    // Until the flight lands, at most as long as the context lives. Precondition: waits().
    Result<Landing> wait(const Context& context);

   private:
    friend class BlockFlights;
    struct Flight;
    BlockFlights* flights_ = nullptr;
    std::shared_ptr<Flight> flight_;
    bool leads_ = false;
  };

  BlockFlights() = default;
  BlockFlights(const BlockFlights&) = delete;
  BlockFlights& operator=(const BlockFlights&) = delete;

  // To be asked before the tier is: a flight that lands between the look at the tier and join() is
  // noticed.
  uint64_t landed(std::string_view block) const;
  // A seat in the block's flight, or an empty one when a flight landed since landed() answered
  // `seen`: look at the tier once more. (Rarely it was that of another block.)
  Seat join(const std::string& block, uint64_t seen);

 private:
  using Flight = Seat::Flight;
  static size_t slot_of(std::string_view block);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Flight>> under_way_;
  std::array<uint64_t, 1024> landed_{};  // by a hash of the block's name
};

}  // namespace thaw
