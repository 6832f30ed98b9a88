#include "app/settings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/fd.h"

namespace thaw {
namespace {

// A document of our few keys has no use for more; it bounds the recursion here.
constexpr int kDeepest = 8;
constexpr size_t kLongestList = 256;

std::string joined(const std::string& section, std::string_view key) {
  return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
}

Error unusable(const std::string& where, const std::string& name, std::string_view type) {
  return {Code::invalid, fmt::format("{}: \"{}\" is {}, which no setting is", where, name, type)};
}

Error too_long(const std::string& where, const std::string& name) {
  return {Code::invalid,
          fmt::format("{}: \"{}\" has more than {} elements", where, name, kLongestList)};
}

Error too_deep(const std::string& where) {
  return {Code::invalid, where + ": sections are nested too deeply"};
}

// --- TOML

Result<> collect(const toml::table& table, const std::string& section, const std::string& origin,
                 int depth, std::vector<Setting>& settings);

// [[tier]], [[tier]]: sections "tier.1", "tier.2".
Result<> collect_list(const toml::array& list, const std::string& name, const std::string& origin,
                      int depth, std::vector<Setting>& settings) {
  const std::string where = fmt::format("{}:{}", origin, list.source().begin.line);
  if (list.empty()) return unusable(where, name, "an empty list");
  if (list.size() > kLongestList) return too_long(where, name);
  size_t number = 0;
  for (const toml::node& element : list) {
    const auto* table = element.as_table();
    if (table == nullptr) return unusable(where, name, "a list");
    THAW_CHECK(collect(*table, fmt::format("{}.{}", name, ++number), origin, depth + 1, settings));
  }
  return {};
}

Result<> collect(const toml::table& table, const std::string& section, const std::string& origin,
                 int depth, std::vector<Setting>& settings) {
  for (const auto& [key, node] : table) {
    const std::string where = fmt::format("{}:{}", origin, key.source().begin.line);
    const std::string name = joined(section, key.str());
    if (const auto* inner = node.as_table()) {
      if (depth == kDeepest) return too_deep(where);
      THAW_CHECK(collect(*inner, name, origin, depth + 1, settings));
    } else if (const auto* list = node.as_array()) {
      if (depth == kDeepest) return too_deep(where);
      THAW_CHECK(collect_list(*list, name, origin, depth, settings));
    } else if (const auto* flag = node.as_boolean()) {
      settings.push_back({name, flag->get(), where});
    } else if (const auto* integer = node.as_integer()) {
      settings.push_back({name, integer->get(), where});
    } else if (const auto* real = node.as_floating_point()) {
      settings.push_back({name, real->get(), where});
    } else if (const auto* text = node.as_string()) {
      settings.push_back({name, text->get(), where});
    } else {
      return unusable(where, name, "a date or time");
    }
  }
  return {};
}

// --- JSON

using Json = nlohmann::json;

Result<> collect(const Json& object, const std::string& section, const std::string& origin,
                 int depth, std::vector<Setting>& settings) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = joined(section, key);
    if (value.is_object()) {
      if (depth == kDeepest) return too_deep(origin);
      THAW_CHECK(collect(value, name, origin, depth + 1, settings));
    } else if (value.is_array()) {
      if (depth == kDeepest) return too_deep(origin);
      if (value.empty()) return unusable(origin, name, "an empty list");
      if (value.size() > kLongestList) return too_long(origin, name);
      for (size_t i = 0; i < value.size(); ++i) {
        if (!value[i].is_object()) return unusable(origin, name, "a list");
        THAW_CHECK(
            collect(value[i], fmt::format("{}.{}", name, i + 1), origin, depth + 1, settings));
      }
    } else if (value.is_boolean()) {
      settings.push_back({name, value.get<bool>(), origin});
    } else if (value.is_number_integer()) {
      // What is out of the signed range is out of every setting's.
      const bool too_large = value.is_number_unsigned() &&
                             value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
      settings.push_back(
          {name, too_large ? std::numeric_limits<int64_t>::max() : value.get<int64_t>(), origin});
    } else if (value.is_number_float()) {
      settings.push_back({name, value.get<double>(), origin});
    } else if (value.is_string()) {
      settings.push_back({name, value.get<std::string>(), origin});
    } else if (!value.is_null()) {
      return unusable(origin, name, "of an unknown type");
    }
  }
  return {};
}

// The parser keeps the last of two values under one name: which one was meant would be a guess.
class NamesOnce {
 public:
  bool see(Json::parse_event_t event, const Json& value) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end) open_.pop_back();
    if (event == Json::parse_event_t::key && !open_.back().insert(value.get<std::string>()).second)
      repeated_ = value.get<std::string>();
    return true;
  }
  const std::optional<std::string>& repeated() const { return repeated_; }

 private:
  std::vector<std::set<std::string>> open_;  // names of the objects that are being read
  std::optional<std::string> repeated_;
};

Error repeated(const std::string& origin, const std::string& name) {
  return {Code::invalid, fmt::format("{}: \"{}\" is given more than once", origin, name)};
}

// {"s3": {"ca_file": …}, "s3.ca_file": …}
Result<> refuse_repeated(const std::vector<Setting>& settings, const std::string& origin) {
  std::set<std::string> names;
  for (const Setting& setting : settings) {
    if (!names.insert(setting.name).second) return repeated(origin, setting.name);
  }
  return {};
}

// --- sources

// Waits until a read would not block. Also where no signal arrives to interrupt it, the context is
// looked at again and again. A pipe that nobody has opened for writing yet is waited for too.
Result<> await_input(const Context& context, int fd, const std::string& source) {
  constexpr std::chrono::milliseconds kPatience{50};
  while (true) {
    auto alive = context.alive();
    if (!alive && alive.error().code() == Code::timeout) {
      return Error(Code::timeout, source + " does not end: nobody writes to it, or closes it");
    }
    THAW_CHECK(std::move(alive).within("read " + source));
    struct pollfd asked {};
    asked.fd = fd;
    asked.events = POLLIN;
    const auto left = std::min(context.remaining().value_or(kPatience), kPatience);
    const int ready = ::poll(&asked, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return errno_error(errno, "read " + source);
    if (ready > 0) return {};
  }
}

Result<std::string> read_to_end(const Context& context, int fd, const std::string& source) {
  std::string text;
  char piece[4096];
  while (true) {
    THAW_CHECK(await_input(context, fd, source));
    const ssize_t n = ::read(fd, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return errno_error(errno, "read " + source);
    if (n == 0) return text;
    text.append(piece, static_cast<size_t>(n));
    if (text.size() > kConfigBytes) {
      return Error(Code::exhausted, source + " has more than the limit of 1 MiB");
    }
  }
}

// Not made non-blocking: others have this open file too.
Result<std::string> read_descriptor(const Context& context, int number, const std::string& source) {
  const UniqueFd fd(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "read " + source);
  return read_to_end(context, fd.get(), source);
}

}  // namespace

Result<std::vector<Setting>> settings_of_toml(std::string_view text, const std::string& origin) {
  std::vector<Setting> settings;
  // Debian's shared toml++ is built to throw; nothing of that leaves this function.
  try {
    const toml::table table = toml::parse(text, origin);
    THAW_CHECK(collect(table, "", origin, 0, settings));
  } catch (const toml::parse_error& fault) {
    return Error(Code::invalid,
                 fmt::format("{}:{}: {}", origin, fault.source().begin.line, fault.description()));
  } catch (const std::exception& fault) {
    return Error(Code::invalid, fmt::format("{}: {}", origin, fault.what()));
  }
  return settings;
}

Result<std::vector<Setting>> settings_of_json(std::string_view text, const std::string& origin) {
  std::vector<Setting> settings;
  try {
    NamesOnce names;
    const Json document =
        Json::parse(text, [&names](int, Json::parse_event_t event, const Json& value) {
          return names.see(event, value);
        });
    if (!document.is_object()) return Error(Code::invalid, origin + ": no JSON object");
    if (names.repeated()) return repeated(origin, *names.repeated());
    THAW_CHECK(collect(document, "", origin, 0, settings));
    THAW_CHECK(refuse_repeated(settings, origin));
  } catch (const Json::parse_error& fault) {
    // Its own text quotes what was read, which may be a secret.
    return Error(Code::invalid, fmt::format("{}: no valid JSON at byte {}", origin, fault.byte));
  } catch (const Json::exception&) {
    return Error(Code::invalid, origin + ": no valid JSON");
  }
  return settings;
}

Result<std::string> read_config_source(const Context& context, const std::string& source) {
  constexpr std::string_view kDescriptor = "fd:";
  if (source.starts_with(kDescriptor)) {
    const char* first = source.data() + kDescriptor.size();
    const char* last = source.data() + source.size();
    int number = -1;
    const auto [end, fault] = std::from_chars(first, last, number);
    if (fault != std::errc() || end != last || number < 0) {
      return Error(Code::invalid, "\"" + source + "\" is no descriptor: write fd:N, like fd:3");
    }
    return read_descriptor(context, number, source);
  }
  // Opening a pipe for reading would wait for its writer.
  THAW_ASSIGN(const UniqueFd fd, open_path(source, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  return read_to_end(context, fd.get(), source);
}

}  // namespace thaw
