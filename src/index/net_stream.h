// NetStream: a connection to another machine, plain or in TLS, with deadlines.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/context.h"

namespace thaw {

// For one thread at a time; closed when it is destroyed. After an error it is of no further use.
// Errors: unavailable (may work later), denied (the other side's certificate is not trusted),
// timeout, cancelled. Raises no signal.
class NetStream {
 public:
  virtual ~NetStream() = default;
  virtual Result<> write_all(const Context& context, Bytes bytes) = 0;
  // At least one byte, as soon as there is one; an error at the other side's end.
  virtual Result<size_t> read_some(const Context& context, MutableBytes to) = 0;
};

struct NetPlace {
  std::string host;  // a name or an address, without brackets
  uint16_t port = 0;
};

Result<std::unique_ptr<NetStream>> connect_tcp(const Context& context, const NetPlace& place);
// TLS 1.2 or later; the certificate has to be good for the host. `ca_file`: PEM, or empty for the
// system's authorities.
Result<std::unique_ptr<NetStream>> connect_tls(const Context& context, const NetPlace& place,
                                               const std::string& ca_file);

}  // namespace thaw
