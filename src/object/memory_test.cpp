#include "object/memory.h"

#include <gtest/gtest.h>

// Nearly all that it does is told in test/conformance.
namespace thaw {
namespace {

class StepClock final : public WallClock {
 public:
  Timestamp now() const override { return {time_ns}; }
  int64_t time_ns = 0;
};

TEST(MemoryStore, StampsWithItsClock) {
  StepClock clock;
  const auto store = make_memory_store(clock);
  const Context context;
  const ObjectKey key = *ObjectKey::parse("a");
  for (const int64_t time_ns : {5, 7}) {
    clock.time_ns = time_ns;
    ASSERT_TRUE(store->put(context, key, Buffer(), PutMode::overwrite));
    EXPECT_EQ((**store->find(context, key)).modified.ns, time_ns);
  }
}

}  // namespace
}  // namespace thaw
