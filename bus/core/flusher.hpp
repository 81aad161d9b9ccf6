// bus/core/flusher.hpp: the one thread of the process that sends what callers have left gathered.
//
// Started by the first message that is gathered. It sleeps, without any CPU, while nothing is gathered anywhere;
// a burst wakes it once, after that it wakes by its own clock until the burst is over. It lives as long as the
// process and is never joined; a forked child gets one of its own when it needs one. It has descriptors only while
// sockets are waited for.
//
// Locks: a client's own lock may be held while watch() and watch_writable() are called, and is taken in on_due().
// So the order is client, then flusher; the flusher calls on_due() without its lock.
#pragma once

#include <cstdint>

#include "bus/core/deadline.hpp"

namespace bus {

struct FlusherThread;

/// Something that holds gathered bytes. Destroy it only after Flusher::forget().
class FlusherClient {
 public:
  FlusherClient(const FlusherClient&) = delete;
  FlusherClient& operator=(const FlusherClient&) = delete;

  /// Its time has come, or its descriptor is writable. It is watched no longer, unless it asks again in here.
  virtual void on_due() noexcept = 0;

 protected:
  FlusherClient() = default;
  virtual ~FlusherClient() = default;

 private:
  friend struct FlusherThread;
  enum class State : unsigned char { idle, timed, writable };
  // all guarded by the flusher's mutex
  State state_ = State::idle;
  FlusherClient* previous_ = nullptr;
  FlusherClient* next_ = nullptr;
  Clock::time_point due_{};
  std::uint64_t id_ = 0;
  int fd_ = -1;
};

class Flusher {
 public:
  /// Calls on_due() at `due` or soon after it. False: the thread could not be started, nothing will happen:
  /// send what is gathered at once.
  [[nodiscard]] static bool watch(FlusherClient&, Clock::time_point due) noexcept;
  /// Calls on_due() when `fd` can be written. False: not possible now; watch() by time instead.
  [[nodiscard]] static bool watch_writable(FlusherClient&, int fd) noexcept;
  /// Ends all that, and waits for an on_due() under way. Without the client's lock.
  static void forget(FlusherClient&) noexcept;
};

}  // namespace bus
