#include "run/text_inbox.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>

#include "run/event_sink.h"

namespace thaw::run {
namespace {

constexpr size_t kMostBytes = 1024 * 1024;  // as of any configuration

// Whether it ends an object, blanks aside: looked for in what is new alone, for 1 MiB of blanks may
// come in small pieces.
bool may_end(std::string_view piece) {
  const size_t last = piece.find_last_not_of(" \t\r\n");
  return last != std::string_view::npos && piece[last] == '}';
}

// Whether no further text makes it JSON: the parser stopped before its end.
bool is_broken(const std::string& text) {
  class Position final : public nlohmann::json_sax<nlohmann::json> {
   public:
    size_t bytes = 0;  // where the parser gave up, counted from 1; 0: it did not

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(size_t) override { return true; }
    bool key(string_t&) override { return true; }
    bool end_object() override { return true; }
    bool start_array(size_t) override { return true; }
    bool end_array() override { return true; }
    bool parse_error(size_t position, const std::string&,
                     const nlohmann::detail::exception&) override {
      bytes = position;
      return false;
    }
  };
  Position position;
  return !nlohmann::json::sax_parse(text, &position) && position.bytes != 0 &&
         position.bytes <= text.size();
}

}  // namespace

Result<TextInbox> TextInbox::open(const std::string& source) {
  if (!names_descriptor(source)) {
    // O_NONBLOCK: opening a FIFO would wait for its writer.
    THAW_ASSIGN(UniqueFd fd, open_path(source, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    return TextInbox(std::move(fd), source);
  }
  THAW_ASSIGN(const int number, descriptor_number(source));
  UniqueFd fd(::fcntl(number, F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return errno_error(errno, "read " + source);
  // It was given to us, not to COMMAND; but 0, 1 and 2 are COMMAND's in any case.
  if (number > 2) ::close(number);
  return TextInbox(std::move(fd), source);
}

Result<std::optional<std::string>> TextInbox::take() {
  std::array<char, 16 * 1024> piece{};
  const ssize_t n = ::read(fd_.get(), piece.data(), piece.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return std::optional<std::string>();
  if (n < 0) return errno_error(errno, "read " + source_);
  text_.append(piece.data(), static_cast<size_t>(n));
  if (text_.size() > kMostBytes)
    return Error(Code::exhausted, source_ + " has more than the limit of 1 MiB");
  // Who writes it may keep its end open.
  const bool may_be_whole = may_end({piece.data(), static_cast<size_t>(n)});
  if (n == 0 || (may_be_whole && nlohmann::json::accept(text_)))
    return std::optional<std::string>(std::move(text_));
  // Then nobody need wait for more. Looked for when it may be whole, and whenever it has doubled.
  if (may_be_whole || text_.size() >= next_look_) {
    next_look_ = 2 * text_.size();
    if (is_broken(text_)) return std::optional<std::string>(std::move(text_));
  }
  return std::optional<std::string>();
}

}  // namespace thaw::run
