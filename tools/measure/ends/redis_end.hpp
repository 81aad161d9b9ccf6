// tools/measure/ends/redis_end.hpp: redis' PUBLISH and SUBSCRIBE by its own client, hiredis.
//
// A connection that has subscribed cannot publish (RESP2), so there are two. Nobody waits for the answer to a PUBLISH
// before what comes next: a flood's producer pipelines, else the answer is read before the next PUBLISH, when it has
// long been there. Source: hiredis' README, "Pipelining".
#pragma once

#include <hiredis/hiredis.h>

#include <array>
#include <memory>
#include <string>

#include "bus/core/errc.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class RedisEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// `port` of 127.0.0.1, or 0 and the path of a Unix socket. Throws Error.
  RedisEnd(int port, const std::string& path, const std::string& in, std::string out, bool gather)
      : gather_(gather), out_(std::move(out)), publishing_(connected(port, path)), subscribed_(connected(port, path)) {
    const Reply answer(static_cast<redisReply*>(redisCommand(subscribed_.get(), "SUBSCRIBE %s", in.c_str())));
    if (!answer || answer->type != REDIS_REPLY_ARRAY) throw Error(Errc::refused, "redis: SUBSCRIBE: " + failure());
  }

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    if (!gather_ && !take_answers(0)) return false;
    std::array<const char*, 3> words{"PUBLISH", out_.c_str(), reinterpret_cast<const char*>(message.data())};
    const std::array<std::size_t, 3> sizes{7, out_.size(), message.size()};
    if (redisAppendCommandArgv(publishing_.get(), 3, words.data(), sizes.data()) != REDIS_OK) return false;
    gathered_ += message.size() + kAround;
    ++unanswered_;
    ++in_batch_;
    return (gather_ && gathered_ < kBatch) || write();
  }
  [[nodiscard]] bool flush() noexcept { return write() && take_answers(0); }
  [[nodiscard]] bool receive(View& view) noexcept {
    if (!write()) return false;
    message_.reset();
    void* reply = nullptr;
    if (redisGetReply(subscribed_.get(), &reply) != REDIS_OK) return false;
    message_.reset(static_cast<redisReply*>(reply));
    if (message_->type != REDIS_REPLY_ARRAY || message_->elements != 3) return false;
    const redisReply& payload = *message_->element[2];
    view.bytes = std::as_bytes(std::span(payload.str, payload.len));
    return true;
  }
  [[nodiscard]] std::string failure() const {
    for (const auto* const context : {publishing_.get(), subscribed_.get()}) {
      if (context->err != 0) return context->errstr;
    }
    return "an answer that was not expected";
  }

  [[nodiscard]] static std::string version() {
    return "hiredis " + std::to_string(HIREDIS_MAJOR) + "." + std::to_string(HIREDIS_MINOR) + "." +
           std::to_string(HIREDIS_PATCH);
  }

 private:
  struct Free {
    void operator()(redisContext* context) const noexcept { redisFree(context); }
    void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
  };
  using Context = std::unique_ptr<redisContext, Free>;
  using Reply = std::unique_ptr<redisReply, Free>;
  static constexpr std::size_t kBatch = 16 << 10;  // bytes; as much as the server reads at once
  static constexpr std::size_t kAround = 40;       // of a command, beside its payload

  static Context connected(int port, const std::string& path) {
    Context context(port != 0 ? redisConnect("127.0.0.1", port) : redisConnectUnix(path.c_str()));
    if (!context || context->err != 0) {
      throw Error(Errc::refused, "redis at " + (port != 0 ? "127.0.0.1:" + std::to_string(port) : path) + ": " +
                                     (context ? context->errstr : "out of memory"));
    }
    return context;
  }
  /// Sends what was gathered, after reading the answers to all but the batch before.
  [[nodiscard]] bool write() noexcept {
    if (in_batch_ == 0) return true;
    for (int done = 0; done == 0;) {
      if (redisBufferWrite(publishing_.get(), &done) != REDIS_OK) return false;
    }
    const std::size_t last = in_batch_;
    in_batch_ = gathered_ = 0;
    return take_answers(last);
  }
  /// Until so many are missing.
  [[nodiscard]] bool take_answers(std::size_t missing) noexcept {
    for (; unanswered_ > missing; --unanswered_) {
      void* reply = nullptr;
      if (redisGetReply(publishing_.get(), &reply) != REDIS_OK) return false;
      const Reply answer(static_cast<redisReply*>(reply));
      if (answer->type == REDIS_REPLY_ERROR) return false;
    }
    return true;
  }

  const bool gather_;
  std::string out_;
  Context publishing_, subscribed_;
  Reply message_;
  std::size_t gathered_ = 0, in_batch_ = 0;  // not written yet: bytes, commands
  std::size_t unanswered_ = 0;
};

}  // namespace bus::tools::measure
