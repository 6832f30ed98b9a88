#include "base/error.h"

#include <cerrno>
#include <system_error>

namespace thaw {

std::string_view name_of(Code code) {
  switch (code) {
    case Code::not_found:
      return "not_found";
    case Code::exists:
      return "exists";
    case Code::invalid:
      return "invalid";
    case Code::denied:
      return "denied";
    case Code::corrupt:
      return "corrupt";
    case Code::busy:
      return "busy";
    case Code::unavailable:
      return "unavailable";
    case Code::timeout:
      return "timeout";
    case Code::exhausted:
      return "exhausted";
    case Code::cancelled:
      return "cancelled";
    case Code::internal:
      return "internal";
  }
  return "internal";
}

std::string Error::text() const {
  std::string all;
  for (auto phrase = contexts_.rbegin(); phrase != contexts_.rend(); ++phrase) {
    all += *phrase;
    all += ": ";
  }
  return all + message_;
}

Error Error::after(std::chrono::milliseconds time) && {
  retry_after_ = time;
  return std::move(*this);
}

Error Error::within(std::string phrase) && {
  contexts_.push_back(std::move(phrase));
  return std::move(*this);
}

namespace {

Code code_of_errno(int value) {
  switch (value) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:  // to open a socket, or a device without its driver
    case ENODEV:
      return Code::not_found;
    case EEXIST:
    case ENOTEMPTY:
      return Code::exists;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::denied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EFBIG:
      return Code::exhausted;
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
      return Code::busy;
    case ETIMEDOUT:
      return Code::timeout;
    case EIO:
    case ESTALE:
      return Code::unavailable;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case EISDIR:
      return Code::invalid;
    default:
      return Code::internal;
  }
}

}  // namespace

Error errno_error(int errno_value, std::string_view what) {
  return {code_of_errno(errno_value),
          std::string(what) + ": " + std::generic_category().message(errno_value)};
}

}  // namespace thaw
