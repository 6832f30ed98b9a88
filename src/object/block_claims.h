// BlockClaims: keeps processes that share a tier from fetching one block at the same time.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"

namespace thaw {

// Thread-safe. Outlives its claims.
class BlockClaims {
 public:
  class Claim {  // ends when destroyed, or with the process
   public:
    virtual ~Claim() = default;
  };
  virtual ~BlockClaims() = default;
  // Null while somebody else has the claim; an error when nothing can be claimed at all. Never
  // waits.
  virtual Result<std::unique_ptr<Claim>> try_claim(std::string_view block) = 0;
};

}  // namespace thaw
