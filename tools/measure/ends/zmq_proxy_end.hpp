// tools/measure/ends/zmq_proxy_end.hpp: ZeroMQ's publish and subscribe through a proxy, and the proxy itself: XSUB
// where publishers come, XPUB where subscribers do. Source: zmq_proxy(3), zmq_socket(3).
//
// A message is one frame whose first byte is what is subscribed to. Sockets have no high-water mark, beyond which they
// would drop.
#pragma once

#include <unistd.h>
#include <zmq.h>

#include <cstring>
#include <string>
#include <thread>

#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

/// Owns a ZeroMQ socket.
class ZmqSocket {
 public:
  /// Throws Error.
  ZmqSocket(void* context, int type) : socket_(zmq_socket(context, type)) {
    if (socket_ == nullptr) throw Error(Errc::refused, std::string("ZeroMQ: ") + zmq_strerror(zmq_errno()));
    for (const int option : {ZMQ_LINGER, ZMQ_SNDHWM, ZMQ_RCVHWM}) set(option, 0);
  }
  ~ZmqSocket() { zmq_close(socket_); }
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  [[nodiscard]] void* get() const noexcept { return socket_; }
  void set(int option, int value) noexcept { zmq_setsockopt(socket_, option, &value, sizeof value); }
  /// Throws Error.
  void check(int done, const std::string& address) const {
    if (done != 0) throw Error(Errc::refused, "ZeroMQ " + address + ": " + zmq_strerror(zmq_errno()));
  }
  /// Binds, and says where. Throws Error.
  [[nodiscard]] std::string bind(const std::string& address) {
    check(zmq_bind(socket_, address.c_str()), address);
    char text[256] = "";
    std::size_t size = sizeof text;
    zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }

 private:
  void* socket_;
};

class ZmqContext {
 public:
  ZmqContext() : context_(zmq_ctx_new()) {}
  ~ZmqContext() { zmq_ctx_term(context_); }  // waits until its sockets are closed
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;
  [[nodiscard]] void* get() const noexcept { return context_; }

 private:
  void* context_;
};

/// Runs in a thread of its own until it is destroyed.
class ZmqProxy {
 public:
  /// Publishers come to the first address, subscribers to the second. Throws Error.
  ZmqProxy(const std::string& in, const std::string& out)
      : from_(context_.get(), ZMQ_XSUB), to_(context_.get(), ZMQ_XPUB) {
    address_ = from_.bind(in) + " ";
    address_ += to_.bind(out);
    thread_ = std::jthread([this] { zmq_proxy(from_.get(), to_.get(), nullptr); });
  }
  ~ZmqProxy() {
    zmq_ctx_shutdown(context_.get());
    thread_.join();
  }
  ZmqProxy(const ZmqProxy&) = delete;
  ZmqProxy& operator=(const ZmqProxy&) = delete;

  /// Both, with a blank between them.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }

 private:
  ZmqContext context_;
  ZmqSocket from_, to_;
  std::string address_;
  std::jthread thread_;
};

class ZmqProxyEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// `address` is the proxy's. Messages come under the byte `in` and go under `out`. meet() comes next. Throws Error.
  ZmqProxyEnd(const std::string& address, char in, char out)
      : out_(out), publishing_(context_.get(), ZMQ_PUB), subscribed_(context_.get(), ZMQ_SUB) {
    const auto blank = address.find(' ');
    const std::string to = address.substr(0, blank), from = address.substr(blank + 1);
    zmq_setsockopt(subscribed_.get(), ZMQ_SUBSCRIBE, &in, 1);
    publishing_.check(zmq_connect(publishing_.get(), to.c_str()), to);
    subscribed_.check(zmq_connect(subscribed_.get(), from.c_str()), from);
    zmq_msg_init(&message_);
  }
  ~ZmqProxyEnd() { zmq_msg_close(&message_); }
  ZmqProxyEnd(const ZmqProxyEnd&) = delete;
  ZmqProxyEnd& operator=(const ZmqProxyEnd&) = delete;

  /// Nobody says when a subscription has come through to the publisher: both sides call until both were heard. Throws
  /// Error at the deadline.
  void meet(Deadline deadline) {
    bool heard = false, is_heard = false;
    while (!is_heard) {
      if (Clock::now() >= deadline) throw Error(Errc::timed_out, "ZeroMQ: the ends did not hear each other");
      const std::byte word{heard};
      static_cast<void>(send({&word, 1}));
      zmq_pollitem_t item{subscribed_.get(), 0, ZMQ_POLLIN, 0};
      while (zmq_poll(&item, 1, 1) > 0) {
        if (zmq_msg_recv(&message_, subscribed_.get(), 0) < 0) break;
        heard = true;
        is_heard =
            is_heard || (zmq_msg_size(&message_) == 2 && static_cast<const char*>(zmq_msg_data(&message_))[1] == 1);
      }
    }
    const std::byte word{true};  // the other side may still wait for it
    static_cast<void>(send({&word, 1}));
  }

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, message.size() + 1) != 0) return false;
    auto* const to = static_cast<char*>(zmq_msg_data(&frame));
    to[0] = out_;
    std::memcpy(to + 1, message.data(), message.size());
    if (zmq_msg_send(&frame, publishing_.get(), 0) >= 0) return true;
    zmq_msg_close(&frame);
    return false;
  }
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept {
    do {
      if (zmq_msg_recv(&message_, subscribed_.get(), 0) < 0) return false;
    } while (zmq_msg_size(&message_) <= 2);  // a late call of meet()
    view.bytes = {static_cast<const std::byte*>(zmq_msg_data(&message_)) + 1, zmq_msg_size(&message_) - 1};
    return true;
  }
  [[nodiscard]] std::string failure() const { return zmq_strerror(zmq_errno()); }

 private:
  char out_;
  ZmqContext context_;
  ZmqSocket publishing_, subscribed_;
  zmq_msg_t message_;
};

}  // namespace bus::tools::measure
