#include "support/test_seed.h"

#include <cstdlib>
#include <iostream>
#include <random>

namespace thaw::test {

uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("THAW_TEST_SEED");
    const uint64_t chosen =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::cout << "THAW_TEST_SEED=" << chosen << '\n';
    return chosen;
  }();
  return seed;
}

}  // namespace thaw::test
