// tools/measure/ends/zmq_end.hpp: ZeroMQ, a PAIR socket at each end, with its defaults. Source: zmq_msg_send(3).
#pragma once

#include <unistd.h>
#include <zmq.h>

#include <string>

#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class ZmqEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// `address` is ZeroMQ's: ipc://path, tcp://host:port. The far end binds. Throws Error.
  ZmqEnd(const std::string& address, bool near) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_PAIR)) {
    const int linger = 0;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
    const int done = near ? zmq_connect(socket_, address.c_str()) : zmq_bind(socket_, address.c_str());
    if (done != 0) throw Error(Errc::refused, "ZeroMQ " + address + ": " + zmq_strerror(zmq_errno()));
    zmq_msg_init(&message_);
    if (!near && address.starts_with("ipc://")) path_ = address.substr(6);
  }
  ~ZmqEnd() {
    zmq_msg_close(&message_);
    zmq_close(socket_);
    zmq_ctx_term(context_);
    if (!path_.empty()) ::unlink(path_.c_str());  // ZeroMQ leaves what it has bound to
  }
  ZmqEnd(const ZmqEnd&) = delete;
  ZmqEnd& operator=(const ZmqEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    return zmq_send(socket_, message.data(), message.size(), 0) >= 0;
  }
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept {
    if (zmq_msg_recv(&message_, socket_, 0) < 0) return false;
    view.bytes = {static_cast<const std::byte*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
    return true;
  }
  [[nodiscard]] std::string failure() const { return zmq_strerror(zmq_errno()); }
  /// Where a far end that bound to a wildcard is.
  [[nodiscard]] std::string address() const {
    char text[256] = "";
    std::size_t size = sizeof text;
    zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }

  [[nodiscard]] static std::string version() {
    int major = 0, minor = 0, patch = 0;
    zmq_version(&major, &minor, &patch);
    return "ZeroMQ " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  }

 private:
  void* context_;
  void* socket_;
  zmq_msg_t message_;
  std::string path_;  // of the far end's socket
};

}  // namespace bus::tools::measure
