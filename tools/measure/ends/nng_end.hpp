// tools/measure/ends/nng_end.hpp: nng, a pair0 socket at each end, with its defaults. Source: nng_send(3),
// nng_recvmsg(3).
#pragma once

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#include <string>

#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class NngEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// `address` is nng's: ipc://path, tcp://host:port. The far end listens. Throws Error.
  NngEnd(const std::string& address, bool near) {
    check(nng_pair0_open(&socket_), address);
    nng_socket_set_size(socket_, NNG_OPT_RECVMAXSZ, 0);
    if (near) {
      check(nng_dial(socket_, address.c_str(), nullptr, 0), address);
    } else {
      nng_listener listener = NNG_LISTENER_INITIALIZER;
      check(nng_listen(socket_, address.c_str(), &listener, 0), address);
      int port = 0;
      if (nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0) port_ = port;
    }
  }
  ~NngEnd() {
    if (message_ != nullptr) nng_msg_free(message_);
    nng_close(socket_);
  }
  NngEnd(const NngEnd&) = delete;
  NngEnd& operator=(const NngEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    error_ =
        nng_send(socket_, const_cast<std::byte*>(message.data()), message.size(), 0);  // without FLAG_ALLOC it copies
    return error_ == 0;
  }
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept {
    if (message_ != nullptr) nng_msg_free(message_);
    message_ = nullptr;
    error_ = nng_recvmsg(socket_, &message_, 0);
    if (error_ != 0) return false;
    view.bytes = {static_cast<const std::byte*>(nng_msg_body(message_)), nng_msg_len(message_)};
    return true;
  }
  [[nodiscard]] std::string failure() const { return nng_strerror(error_); }
  /// The port that a far end on tcp://host:0 has got; 0: none.
  [[nodiscard]] int port() const noexcept { return port_; }

  [[nodiscard]] static std::string version() { return std::string("nng ") + nng_version(); }

 private:
  static void check(int error, const std::string& address) {
    if (error != 0) throw Error(Errc::refused, "nng " + address + ": " + nng_strerror(error));
  }

  nng_socket socket_ = NNG_SOCKET_INITIALIZER;
  nng_msg* message_ = nullptr;
  int error_ = 0, port_ = 0;
};

}  // namespace bus::tools::measure
