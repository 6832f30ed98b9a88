// The seed of this run's random tests.
#pragma once

#include <cstdint>

namespace thaw::test {

// It is printed; THAW_TEST_SEED sets it, to have a failure again.
uint64_t test_seed();

}  // namespace thaw::test
