#include "golden/record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/percent.h"

namespace thaw::golden {
namespace {

using Json = nlohmann::ordered_json;
constexpr uint64_t kFormat = 1;

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

Error malformed(const char* what) { return {Code::corrupt, fmt::format("malformed {}", what)}; }

Result<Json> parse(std::string_view text, const char* what) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return malformed(what);
  const auto format = json.find("format");
  if (format == json.end() || !format->is_number_unsigned()) return malformed(what);
  if (*format != kFormat) {
    return Error(Code::invalid, fmt::format("{} has a format that this thaw does not know", what));
  }
  return json;
}

// Fields that are there and of another type make the whole malformed.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}
  bool ok() const { return ok_; }

  void number(const char* name, uint64_t& to) {
    if (const Json* field = find(name); field != nullptr) {
      if (field->is_number_unsigned())
        to = field->get<uint64_t>();
      else
        ok_ = false;
    }
  }
  void text(const char* name, std::string& to) {
    if (const Json* field = find(name); field != nullptr) {
      if (field->is_string())
        to = field->get<std::string>();
      else
        ok_ = false;
    }
  }
  void optional_text(const char* name, std::optional<std::string>& to) {
    const auto field = json_.find(name);
    if (field == json_.end() || field->is_null()) return;
    text(name, to.emplace());
  }
  void boolean(const char* name, bool& to) {
    if (const Json* field = find(name); field != nullptr) {
      if (field->is_boolean())
        to = field->get<bool>();
      else
        ok_ = false;
    }
  }
  const Json* find(const char* name) {
    const auto field = json_.find(name);
    if (field != json_.end()) return &*field;
    ok_ = false;
    return nullptr;
  }
  void fail() { ok_ = false; }

 private:
  const Json& json_;
  bool ok_ = true;
};

}  // namespace

std::string write_pointer(const Pointer& pointer) {
  return text_of({{"format", kFormat}, {"current", pointer.current}, {"last", pointer.last}});
}

Result<Pointer> read_pointer(std::string_view text) {
  THAW_ASSIGN(const Json json, parse(text, "current.json"));
  Pointer pointer;
  Reader reader(json);
  reader.number("current", pointer.current);
  reader.number("last", pointer.last);
  if (!reader.ok() || pointer.current > pointer.last) return malformed("current.json");
  return pointer;
}

std::string write_description(const Description& it) {
  Json json = {{"format", kFormat},
               {"name", it.name},
               {"generation", it.generation},
               {"created_at", it.created_at},
               {"source", it.source},
               {"snapshot", nullptr},
               {"files", it.totals.files},
               {"dirs", it.totals.dirs},
               {"others", it.totals.others},
               {"bytes", it.totals.bytes},
               {"host", it.host},
               {"labels", Json::object()},
               {"stamp", nullptr},
               {"overlay_marks", it.overlay_marks}};
  if (it.snapshot) json["snapshot"] = *it.snapshot;
  if (it.stamp) json["stamp"] = *it.stamp;
  for (const auto& [key, value] : it.labels) json["labels"][key] = value;
  return text_of(json);
}

Result<Description> read_description(std::string_view text) {
  THAW_ASSIGN(const Json json, parse(text, "golden.json"));
  Description it;
  Reader reader(json);
  reader.text("name", it.name);
  reader.number("generation", it.generation);
  reader.text("created_at", it.created_at);
  reader.text("source", it.source);
  reader.text("host", it.host);
  reader.optional_text("snapshot", it.snapshot);
  reader.optional_text("stamp", it.stamp);
  reader.boolean("overlay_marks", it.overlay_marks);
  reader.number("files", it.totals.files);
  reader.number("dirs", it.totals.dirs);
  reader.number("others", it.totals.others);
  reader.number("bytes", it.totals.bytes);
  if (const Json* labels = reader.find("labels"); labels != nullptr && labels->is_object()) {
    for (const auto& [key, value] : labels->items()) {
      if (value.is_string())
        it.labels[key] = value.get<std::string>();
      else
        reader.fail();
    }
  }
  if (!reader.ok() || it.generation == 0) return malformed("golden.json");
  return it;
}

const char* name_of(Method method) {
  switch (method) {
    case Method::copy:
      return "copy";
    case Method::reflink:
      return "reflink";
    case Method::snapshot:
      return "snapshot";
    case Method::overlay:
      return "overlay";
  }
  return "";
}

bool FolderId::operator==(const FolderId& other) const {
  return inode == other.inode && born_ns == other.born_ns && subvolume == other.subvolume &&
         (born_ns != 0 || device == other.device);
}

std::string write_clone(const CloneRecord& record) {
  Json json = {{"format", kFormat},
               // Any bytes but NUL may stand in a path, and JSON holds characters.
               {"target", percent_encoded(record.target, "/")},
               {"generation", record.generation},
               {"method", name_of(record.method)},
               {"created_at", record.created_at},
               {"made_target", record.made_target},
               {"tree", nullptr}};
  if (record.tree) {
    json["tree"] = {{"device", record.tree->device},
                    {"inode", record.tree->inode},
                    {"born_ns", record.tree->born_ns},
                    {"subvolume", record.tree->subvolume}};
  }
  return text_of(json);
}

Result<CloneRecord> read_clone(std::string_view text) {
  THAW_ASSIGN(const Json json, parse(text, "a clone's record"));
  CloneRecord record;
  Reader reader(json);
  std::string method;
  reader.text("target", record.target);
  reader.number("generation", record.generation);
  reader.text("method", method);
  reader.text("created_at", record.created_at);
  reader.boolean("made_target", record.made_target);
  if (method == "reflink")
    record.method = Method::reflink;
  else if (method == "overlay")
    record.method = Method::overlay;
  else if (method == "snapshot")
    record.method = Method::snapshot;
  else if (method != "copy")
    reader.fail();
  if (const Json* tree = reader.find("tree"); tree != nullptr && tree->is_object()) {
    Reader inner(*tree);
    FolderId& id = record.tree.emplace();
    inner.number("device", id.device);
    inner.number("inode", id.inode);
    const Json* born = inner.find("born_ns");
    if (born != nullptr && born->is_number_integer()) id.born_ns = born->get<int64_t>();
    inner.text("subvolume", id.subvolume);
    if (!inner.ok()) reader.fail();
  }
  record.target = percent_decoded(record.target).value_or("");
  const bool absolute = !record.target.empty() && record.target.front() == '/';
  if (!reader.ok() || record.generation == 0 || !absolute) return malformed("a clone's record");
  return record;
}

}  // namespace thaw::golden
