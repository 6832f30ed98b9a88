#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "index/net_stream.h"

namespace thaw {
namespace {

struct FreeSsl {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

std::string openssl_text() {
  char text[256] = "";
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "TLS failed";
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

bool is_address(const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), address) == 1;
}

// OpenSSL works on memory here; its bytes travel through the plain stream, which keeps deadlines
// and raises no SIGPIPE.
class TlsStream final : public NetStream {
 public:
  explicit TlsStream(std::unique_ptr<NetStream> plain) : plain_(std::move(plain)) {}

  Result<> open(const Context& context, const std::string& host, const std::string& ca_file) {
    THAW_CHECK(set_up(host, ca_file));
    while (true) {
      ERR_clear_error();
      const int done = SSL_do_handshake(ssl_.get());
      const int why = SSL_get_error(ssl_.get(), done);
      THAW_CHECK(flush(context));
      if (done == 1) return {};
      if (why != SSL_ERROR_WANT_READ) return handshake_error();
      THAW_CHECK(refill(context));
    }
  }

  Result<> write_all(const Context& context, Bytes bytes) override {
    constexpr size_t kPart = 256 * 1024;  // that much is encrypted before it is sent
    while (!bytes.empty()) {
      ERR_clear_error();
      const int size = static_cast<int>(std::min(bytes.size(), kPart));
      const int written = SSL_write(ssl_.get(), bytes.data(), size);
      if (written <= 0) return Error(Code::unavailable, openssl_text());
      THAW_CHECK(flush(context));
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
    return {};
  }

  Result<size_t> read_some(const Context& context, MutableBytes to) override {
    const int size = static_cast<int>(std::min<size_t>(to.size(), INT32_MAX));
    while (true) {
      THAW_CHECK(context.alive());
      ERR_clear_error();
      const int got = SSL_read(ssl_.get(), to.data(), size);
      if (got > 0) return static_cast<size_t>(got);
      const int why = SSL_get_error(ssl_.get(), got);
      // A key update, say, is answered.
      THAW_CHECK(flush(context));
      if (why == SSL_ERROR_ZERO_RETURN) {
        return Error(Code::unavailable, "the other side closed the connection");
      }
      if (why != SSL_ERROR_WANT_READ) return Error(Code::unavailable, openssl_text());
      THAW_CHECK(refill(context));
    }
  }

 private:
  Result<> set_up(const std::string& host, const std::string& ca_file) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    if (!context_) return Error(Code::internal, openssl_text());
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    const int trusted =
        ca_file.empty() ? SSL_CTX_set_default_verify_paths(context_.get())
                        : SSL_CTX_load_verify_locations(context_.get(), ca_file.c_str(), nullptr);
    if (trusted != 1) {
      ERR_clear_error();
      return Error(Code::invalid, "cannot read the certificate authorities in " + ca_file);
    }
    ssl_.reset(SSL_new(context_.get()));
    if (!ssl_) return Error(Code::internal, openssl_text());
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl_.get());
    bool set = false;
    if (is_address(host)) {
      set = X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1;
    } else {
      X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      set = X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), 0) == 1 &&
            SSL_set_tlsext_host_name(ssl_.get(), host.c_str()) == 1;
    }
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    if (!set || in == nullptr || out == nullptr) {
      BIO_free(in);
      BIO_free(out);
      return Error(Code::internal, openssl_text());
    }
    SSL_set_bio(ssl_.get(), in, out);  // which owns them now
    SSL_set_connect_state(ssl_.get());
    return {};
  }

  Error handshake_error() const {
    const long verified = SSL_get_verify_result(ssl_.get());
    const std::string text = openssl_text();
    if (verified == X509_V_OK) return {Code::unavailable, "TLS handshake: " + text};
    return {Code::denied, std::string("the server's certificate is not trusted: ") +
                              X509_verify_cert_error_string(verified)};
  }

  // Sends what OpenSSL has made.
  Result<> flush(const Context& context) {
    char* data = nullptr;
    BIO* out = SSL_get_wbio(ssl_.get());
    const long size = BIO_get_mem_data(out, &data);
    if (size <= 0) return {};
    THAW_CHECK(plain_->write_all(context, as_bytes({data, static_cast<size_t>(size)})));
    static_cast<void>(BIO_reset(out));
    return {};
  }

  // Brings what OpenSSL waits for.
  Result<> refill(const Context& context) {
    uint8_t part[16 * 1024];
    THAW_ASSIGN(const size_t got, plain_->read_some(context, part));
    if (BIO_write(SSL_get_rbio(ssl_.get()), part, static_cast<int>(got)) <= 0) {
      return Error(Code::exhausted, "no memory for what came over TLS");
    }
    return {};
  }

  const std::unique_ptr<NetStream> plain_;
  std::unique_ptr<SSL_CTX, FreeSsl> context_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
};

}  // namespace

Result<std::unique_ptr<NetStream>> connect_tls(const Context& context, const NetPlace& place,
                                               const std::string& ca_file) {
  THAW_ASSIGN(auto plain, connect_tcp(context, place));
  auto stream = std::make_unique<TlsStream>(std::move(plain));
  THAW_CHECK(stream->open(context, place.host, ca_file));
  return std::unique_ptr<NetStream>(std::move(stream));
}

}  // namespace thaw
