#include "snapshot/condemned.h"

#include "base/log.h"
#include "format/limits.h"
#include "object/listing.h"

namespace thaw {
namespace {

constexpr std::string_view kPrefix = "condemned/";

// Damaged on the way counts as damaged only when it is so twice.
Result<std::optional<CondemnedRecord>> read_once(const Context& context, ObjectStore& store,
                                                 const RandomId& id, const ObjectKey& object) {
  const ByteRange range = ByteRange::of(0, limits::kSealedRecordBytes + 1);
  auto fetched = store.get(context, object, range, Freshness::origin);
  if (!fetched && fetched.error().code() == Code::not_found)
    return std::optional<CondemnedRecord>();
  if (!fetched) return std::move(fetched).error();
  THAW_ASSIGN(auto content, decode_condemned(fetched->bytes).within("object " + object.text()));
  return std::optional(CondemnedRecord{id, object, fetched->info.modified, std::move(content)});
}

}  // namespace

ObjectKey condemned_object(const RandomId& id) {
  return *ObjectKey::parse(std::string(kPrefix) + id.hex());
}

ObjectKey sweeping_object(const RandomId& record) {
  return *ObjectKey::parse("sweeping/" + record.hex());
}

Result<std::vector<CondemnedRecord>> read_condemned(const Context& context, ObjectStore& store) {
  std::vector<CondemnedRecord> records;
  THAW_CHECK(list_all(context, store, kPrefix, [&](const Listed& listed) -> Result<> {
    const std::string_view name = std::string_view(listed.key.text()).substr(kPrefix.size());
    const auto id = RandomId::parse(name);
    if (!id) return {};  // not ours
    auto record = read_once(context, store, *id, listed.key);
    if (!record && record.error().code() == Code::corrupt) {
      record = read_once(context, store, *id, listed.key);
    }
    if (record && !*record) return {};
    if (!record && record.error().code() != Code::corrupt) return std::move(record).error();
    if (!record) log::warn("a condemned record is damaged: {}", record.error().text());
    records.push_back(record
                          ? **std::move(record)
                          : CondemnedRecord{*id, listed.key, listed.info.modified, std::nullopt});
    return {};
  }));
  return records;
}

}  // namespace thaw
