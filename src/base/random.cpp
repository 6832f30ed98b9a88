#include "base/random.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/bytes.h"

namespace thaw {

RandomId RandomId::fresh() {
  RandomId id;
  size_t done = 0;
  while (done < id.bytes.size()) {
    const ssize_t n = ::getrandom(id.bytes.data() + done, id.bytes.size() - done, 0);
    // getrandom fails on nothing but EINTR once the kernel is seeded; a weak name is worse than
    // none.
    if (n < 0 && errno != EINTR) std::abort();
    if (n > 0) done += static_cast<size_t>(n);
  }
  return id;
}

std::optional<RandomId> RandomId::parse(std::string_view hex) {
  const auto raw = from_hex(hex);
  if (!raw || raw->size() != 16) return std::nullopt;
  RandomId id;
  std::copy(raw->begin(), raw->end(), id.bytes.begin());
  return id;
}

std::string RandomId::hex() const { return to_hex(bytes); }

}  // namespace thaw
