// bus/core/listener.cpp: accepting, with deadlines.
#include "bus/core/listener.hpp"

#include "bus/core/channel_state.hpp"

namespace bus {

class ListenerState {
 public:
  ListenerState(std::unique_ptr<ListenerImpl> listener, WaitMode mode)
      : impl(std::move(listener)), wait(mode), address(impl->address()) {}

  ~ListenerState() {
    if (gate.forked()) static_cast<void>(impl.release());  // the parent's; see ChannelState
  }
  ListenerState(const ListenerState&) = delete;
  ListenerState& operator=(const ListenerState&) = delete;

  std::unique_ptr<ListenerImpl> impl;  // null once closed
  const WaitMode wait;
  const std::string address;
  Gate gate;
  std::mutex close_mutex;  // one closer at a time
};

Listener::Listener() noexcept = default;
Listener::Listener(Listener&&) noexcept = default;

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}

Listener::Listener(std::unique_ptr<ListenerImpl> impl, WaitMode wait)
    : state_(std::make_unique<ListenerState>(std::move(impl), wait)) {}

Listener::~Listener() { close(); }

Result<Channel> Listener::try_accept() noexcept {
  if (!state_) return Errc::closed;
  const Gate::Entry entry(state_->gate, Gate::kReceiver);
  if (!entry) return Errc::closed;
  auto impl = state_->impl->try_accept();
  if (!impl) return impl.error();
  try {
    return Channel(std::move(*impl), state_->wait, state_->address);
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  }
}

Result<Channel> Listener::accept(Deadline deadline) noexcept {
  for (;;) {
    Result<Channel> channel = try_accept();
    if (channel || channel.error() != Errc::would_block) return channel;
    if (Clock::now() >= deadline) return Errc::timed_out;
    const Gate::Entry entry(state_->gate, Gate::kReceiver);
    if (!entry) return Errc::closed;
    WaitSet set;
    const bool open = state_->gate.arm(set);
    const bool again = state_->impl->arm(set);
    if (open && !again) set.sleep(deadline);
    state_->impl->disarm();
  }
}

int Listener::readable_fd() {
  if (!state_) throw Error(Errc::closed, "readable_fd: the listener is closed");
  const Gate::Entry entry(state_->gate, Gate::kReceiver);
  if (!entry) throw Error(Errc::closed, describe("readable_fd", state_->address, Errc::closed));
  return state_->impl->readable_fd();
}

std::string_view Listener::address() const noexcept { return state_ ? std::string_view(state_->address) : ""; }

void Listener::close() noexcept {
  if (!state_ || state_->gate.forked()) return;
  state_->gate.shut_and_drain();
  const std::lock_guard lock(state_->close_mutex);
  state_->impl.reset();
}

}  // namespace bus
