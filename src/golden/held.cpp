#include "golden/held.h"

namespace thaw::golden {

// Found and locked under the name's lock: between the two it cannot be removed.
Result<HeldGeneration> hold_generation(const Context& context, const Place& place, const Ref& ref) {
  THAW_ASSIGN(const Lock lock, lock_file(context, place.lock_path(), Share::shared));
  THAW_ASSIGN(const Pointer pointer, place.pointer());
  const uint64_t number = ref.generation.value_or(pointer.current);
  bool is_there = false;
  folder_id_of(place.tree_of(number), is_there);
  if (number == 0 || !is_there) return Error(Code::not_found, "no golden " + ref.text());
  THAW_ASSIGN(Lock held, lock_file(context, place.path_of(number) + "/lock", Share::shared));
  return HeldGeneration{number, std::move(held)};
}

}  // namespace thaw::golden
