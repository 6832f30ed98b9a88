#include "index/sqlite_batch.h"

#include "index/index_contract.h"

namespace thaw {
namespace {

using Kind = BlockNote::Kind;

std::string_view name_of(const BlockNote& note) { return note.block.text(); }

}  // namespace

Result<> SqliteBatch::add(const BlockNote& note, const BlockPlace& place) {
  if (note.kind == Kind::evict) return evict(note, place);
  THAW_ASSIGN(const int64_t object, object_of(place, Missing::make));
  if (note.kind == Kind::admit) return admit(note, place, object);
  return tables_.touch.bind(object, name_of(note), use_of(note.at)).run();
}

Result<int64_t> SqliteBatch::object_of(const BlockPlace& place, Missing missing) {
  const auto known = ids_.find(place.object);
  if (known != ids_.end()) return known->second;
  int64_t id = 0;
  {
    const SqliteReset reset(tables_.find_object);
    THAW_ASSIGN(const bool found, tables_.find_object.bind(place.object).step());
    if (found) id = tables_.find_object.integer(0);
  }
  if (id == 0 && missing == Missing::leave) return 0;
  if (id == 0) {
    THAW_CHECK(tables_.add_object.bind(place.object, place.group).run());
    id = tables_.database->last_id();
  }
  ids_.emplace(place.object, id);
  return id;
}

Result<std::optional<SqliteBatch::Found>> SqliteBatch::find(int64_t object, const BlockNote& note) {
  SqliteStatement& find = tables_.find_block;
  const SqliteReset reset(find);
  THAW_ASSIGN(const bool row, find.bind(object, name_of(note)).step());
  if (!row) return std::optional<Found>();
  Found found{find.integer(0), std::nullopt};
  if (!find.is_null(1)) found.bytes = find.integer(1);
  return std::optional(found);
}

Result<> SqliteBatch::admit(const BlockNote& note, const BlockPlace& place, int64_t object) {
  THAW_ASSIGN(const auto found, find(object, note));
  const auto bytes = static_cast<int64_t>(note.bytes);
  THAW_CHECK(tables_.put_block.bind(object, name_of(note), use_of(note.at), bytes).run());
  const bool had_size = found && found->bytes;
  change(object, place, had_size ? SqliteChange{bytes - *found->bytes, 0} : SqliteChange{bytes, 1});
  return {};
}

Result<> SqliteBatch::evict(const BlockNote& note, const BlockPlace& place) {
  THAW_ASSIGN(const int64_t object, object_of(place, Missing::leave));
  if (object == 0) return {};
  THAW_ASSIGN(const auto found, find(object, note));
  if (!found || found->use > use_of(note.at)) return {};
  THAW_CHECK(tables_.drop_block.bind(object, name_of(note)).run());
  evicted_.insert(object);
  if (found->bytes) change(object, place, {-*found->bytes, -1});
  return {};
}

void SqliteBatch::change(int64_t object, const BlockPlace& place, SqliteChange by) {
  for (SqliteChange* sum : {&objects_[object], &groups_[place.group]}) {
    sum->bytes += by.bytes;
    sum->blocks += by.blocks;
  }
}

Result<> SqliteBatch::sum_up() {
  SqliteChange all;
  for (const auto& [object, change] : objects_) {
    if (change.bytes == 0 && change.blocks == 0) continue;
    THAW_CHECK(tables_.sum_object.bind(object, change.bytes, change.blocks).run());
  }
  for (const auto& [group, change] : groups_) {
    all.bytes += change.bytes;
    all.blocks += change.blocks;
    THAW_CHECK(tables_.sum_group.bind(group, change.bytes, change.blocks).run());
    THAW_CHECK(tables_.drop_group.bind(group).run());
  }
  for (const int64_t object : evicted_) THAW_CHECK(tables_.drop_object.bind(object).run());
  if (all.bytes == 0 && all.blocks == 0) return {};
  return tables_.sum_group.bind(std::string_view(), all.bytes, all.blocks).run();
}

}  // namespace thaw
