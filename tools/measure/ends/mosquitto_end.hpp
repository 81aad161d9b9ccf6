// tools/measure/ends/mosquitto_end.hpp: MQTT by mosquitto's own client, QoS 0: one subscription, one topic.
//
// The caller's thread drives it (mosquitto_loop_read(), mosquitto_loop_write(), as mosquitto.h describes for programs
// with a loop of their own): so a message leaves from publish(), and nothing is handed between threads.
#pragma once

#include <mosquitto.h>
#include <poll.h>

#include <string>
#include <vector>

#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class MosquittoEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Connects to a port of 127.0.0.1. Throws Error.
  MosquittoEnd(int port, const std::string& in, std::string out) : out_(std::move(out)) {
    mosquitto_lib_init();
    client_ = mosquitto_new(nullptr, true, this);
    try {
      if (client_ == nullptr) throw Error(Errc::refused, "mosquitto: no client could be made");
      mosquitto_int_option(client_, MOSQ_OPT_TCP_NODELAY, 1);
      mosquitto_connect_callback_set(client_,
                                     [](mosquitto*, void* self, int code) { of(self).connected_ = code == 0; });
      mosquitto_subscribe_callback_set(
          client_, [](mosquitto*, void* self, int, int, const int*) { of(self).subscribed_ = true; });
      mosquitto_message_callback_set(
          client_, [](mosquitto*, void* self, const mosquitto_message* message) { of(self).take(*message); });
      if (!ok(mosquitto_connect(client_, "127.0.0.1", port, kKeepAlive)) || !drive_until(connected_) ||
          !ok(mosquitto_subscribe(client_, nullptr, in.c_str(), 0)) || !drive_until(subscribed_)) {
        throw Error(Errc::refused, "mosquitto at 127.0.0.1:" + std::to_string(port) + ": " + failure());
      }
    } catch (...) {
      destroy();
      throw;
    }
  }
  ~MosquittoEnd() { destroy(); }
  MosquittoEnd(const MosquittoEnd&) = delete;
  MosquittoEnd& operator=(const MosquittoEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    const int size = static_cast<int>(message.size());
    return ok(mosquitto_publish(client_, nullptr, out_.c_str(), size, message.data(), 0, false)) && flush();
  }
  /// What the socket did not take at once.
  [[nodiscard]] bool flush() noexcept {
    while (mosquitto_want_write(client_)) {
      if (!wait(POLLOUT) || !ok(mosquitto_loop_write(client_, 1))) return false;
    }
    return true;
  }
  [[nodiscard]] bool receive(View& view) noexcept {
    while (next_ == count_) {
      next_ = count_ = 0;
      if (!ok(mosquitto_loop_read(client_, 1))) return false;
      if (count_ > 0) break;
      if (!wait(POLLIN) || !ok(mosquitto_loop_misc(client_))) return false;
    }
    view.bytes = came_[next_++];
    return true;
  }
  [[nodiscard]] std::string failure() const { return mosquitto_strerror(error_); }

  [[nodiscard]] static std::string version() {
    int major = 0, minor = 0, revision = 0;
    mosquitto_lib_version(&major, &minor, &revision);
    return "libmosquitto " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(revision);
  }

 private:
  static constexpr int kKeepAlive = 60;   // seconds
  static constexpr int kMiscEach = 1000;  // milliseconds: as often as mosquitto.h asks for

  [[nodiscard]] static MosquittoEnd& of(void* self) noexcept { return *static_cast<MosquittoEnd*>(self); }

  /// A message is the library's until its callback has returned.
  void take(const mosquitto_message& message) {
    if (count_ == came_.size()) came_.emplace_back();
    const auto* const bytes = static_cast<const std::byte*>(message.payload);
    came_[count_++].assign(bytes, bytes + message.payloadlen);
  }
  [[nodiscard]] bool wait(short events) noexcept {
    pollfd poll{mosquitto_socket(client_), events, 0};
    return ::poll(&poll, 1, kMiscEach) >= 0 || errno == EINTR;
  }
  [[nodiscard]] bool drive_until(const bool& done) {
    const Deadline deadline = in(std::chrono::seconds(5));
    while (!done && Clock::now() < deadline) {
      if (!ok(mosquitto_loop(client_, 10, 1))) return false;
    }
    return done || ok(MOSQ_ERR_NO_CONN);
  }
  [[nodiscard]] bool ok(int error) noexcept {
    if (error != MOSQ_ERR_SUCCESS) error_ = error;
    return error == MOSQ_ERR_SUCCESS;
  }
  void destroy() noexcept {
    if (client_ != nullptr) mosquitto_destroy(client_);
    mosquitto_lib_cleanup();
  }

  std::string out_;
  mosquitto* client_ = nullptr;
  bool connected_ = false, subscribed_ = false;
  std::vector<std::vector<std::byte>> came_;  // the first count_ of them, of which next_ were handed out
  std::size_t next_ = 0, count_ = 0;
  int error_ = MOSQ_ERR_SUCCESS;
};

}  // namespace bus::tools::measure
