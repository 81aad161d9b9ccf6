// tools/measure/ends/nats_end.hpp: NATS by its own client, cnats: one synchronous subscription, one subject. Source:
// nats.h: natsConnection_Publish(), natsSubscription_NextMsg(), natsOptions_SetSendAsap().
#pragma once

#include <nats/nats.h>

#include <string>

#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class NatsEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Connects to `place` (host:port). A flood's producer gathers in the client's buffer, as it does by default; else
  /// each message leaves at once, from the caller's thread. Throws Error.
  NatsEnd(const std::string& place, const std::string& in, std::string out, bool gather) : out_(std::move(out)) {
    try {
      check(natsOptions_Create(&options_), place);
      check(natsOptions_SetURL(options_, ("nats://" + place).c_str()), place);
      check(natsOptions_SetAllowReconnect(options_, false), place);
      check(natsOptions_SetSendAsap(options_, !gather), place);
      check(natsConnection_Connect(&connection_, options_), place);
      check(natsConnection_SubscribeSync(&subscription_, connection_, in.c_str()), place);
      check(natsSubscription_SetPendingLimits(subscription_, -1, -1), place);
      check(natsConnection_Flush(connection_), place);  // the subscription is in force
    } catch (...) {
      destroy();
      throw;
    }
  }
  ~NatsEnd() { destroy(); }
  NatsEnd(const NatsEnd&) = delete;
  NatsEnd& operator=(const NatsEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    return ok(natsConnection_Publish(connection_, out_.c_str(), message.data(), static_cast<int>(message.size())));
  }
  [[nodiscard]] bool flush() noexcept { return ok(natsConnection_Flush(connection_)); }
  [[nodiscard]] bool receive(View& view) noexcept {
    natsMsg_Destroy(message_);
    message_ = nullptr;
    natsStatus status = NATS_TIMEOUT;
    while (status == NATS_TIMEOUT) status = natsSubscription_NextMsg(&message_, subscription_, kAnHour);
    if (!ok(status)) return false;
    view.bytes = std::as_bytes(std::span(natsMsg_GetData(message_), static_cast<std::size_t>(size())));
    return true;
  }
  [[nodiscard]] std::string failure() const { return natsStatus_GetText(status_); }

  [[nodiscard]] static std::string version() { return std::string("cnats ") + nats_GetVersion(); }

 private:
  static constexpr std::int64_t kAnHour = 3'600'000;

  [[nodiscard]] int size() const noexcept { return natsMsg_GetDataLength(message_); }
  [[nodiscard]] bool ok(natsStatus status) noexcept {
    if (status != NATS_OK) status_ = status;
    return status == NATS_OK;
  }
  static void check(natsStatus status, const std::string& place) {
    if (status != NATS_OK) throw Error(Errc::refused, "NATS at " + place + ": " + natsStatus_GetText(status));
  }
  void destroy() noexcept {
    natsMsg_Destroy(message_);
    natsSubscription_Destroy(subscription_);
    natsConnection_Destroy(connection_);
    natsOptions_Destroy(options_);
    nats_Close();  // of the whole library: a process has one end
  }

  std::string out_;
  natsOptions* options_ = nullptr;
  natsConnection* connection_ = nullptr;
  natsSubscription* subscription_ = nullptr;
  natsMsg* message_ = nullptr;
  natsStatus status_ = NATS_OK;
};

}  // namespace bus::tools::measure
