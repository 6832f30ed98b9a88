// All names below a prefix, page by page.
#pragma once

#include <string_view>
#include <type_traits>

#include "base/context.h"
#include "object/store.h"

namespace thaw {

// Calls `take(listed)` for every object below the prefix, in order. The first error, of the store
// or of a `take` that answers Result<>, ends it. Memory: one page.
template <class Take>
Result<> list_all(const Context& context, ObjectStore& store, std::string_view prefix,
                  const Take& take) {
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, store.list(context, prefix, options));
    for (const Listed& listed : page.objects) {
      if constexpr (std::is_void_v<decltype(take(listed))>) {
        take(listed);
      } else {
        THAW_CHECK(take(listed));
      }
    }
    if (!page.more || page.objects.empty()) return {};
    options.after = page.objects.back().key.text();
  }
}

}  // namespace thaw
