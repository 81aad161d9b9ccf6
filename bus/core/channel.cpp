// bus/core/channel.cpp: the calls of a channel, over its transport.
#include "bus/core/channel.hpp"

#include "bus/core/channel_state.hpp"

namespace bus {

using namespace std::chrono_literals;

namespace {
constexpr auto kLinger = 5s;  // how long close() goes on handing over what is queued
}

Channel::Channel() noexcept = default;
Channel::Channel(Channel&&) noexcept = default;

Channel& Channel::operator=(Channel&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}

Channel::Channel(std::unique_ptr<ChannelImpl> impl, WaitMode wait, std::string address)
    : state_(std::make_unique<ChannelState>(std::move(impl), wait, std::move(address))) {}

Channel::~Channel() { close(); }

namespace {

/// Sends with `attempt(implementation)`, as the one sender that there may be, and counts it.
template <class Attempt>
std::error_code send_with(ChannelState* state, std::size_t size, Attempt attempt) noexcept {
  if (state == nullptr) return Errc::closed;
  std::error_code outcome = Errc::closed;
  const Gate::Entry entry(state->gate, Gate::kSender);
  if (entry) {
    if (const std::error_code error = state->begin_send()) return error;
    outcome = attempt(*state->impl);
  }
  state->count_sent(outcome, size);
  return outcome;
}

}  // namespace

std::error_code Channel::try_send(std::span<const std::byte> payload) noexcept {
  return send_with(state_.get(), payload.size(), [&](ChannelImpl& impl) noexcept { return impl.try_send(payload); });
}

std::error_code Channel::try_send(std::span<const std::byte> head, std::span<const std::byte> tail) noexcept {
  return send_with(state_.get(), head.size() + tail.size(),
                   [&](ChannelImpl& impl) noexcept { return impl.try_send_pieces(head, tail); });
}

std::error_code Channel::send(std::span<const std::byte> payload, Deadline deadline) noexcept {
  return send_with(state_.get(), payload.size(), [&](ChannelImpl& impl) noexcept {
    return state_->wait_for(Ready::send, deadline, [&]() noexcept { return impl.try_send(payload); });
  });
}

Result<Message> Channel::try_receive() noexcept {
  if (!state_) return Errc::closed;
  const Gate::Entry entry(state_->gate, Gate::kReceiver);
  if (!entry) return Errc::closed;
  Result<Message> message = state_->impl->try_receive();
  if (message) {
    state_->count_received(*message);
  } else {
    state_->note(message.error());
  }
  return message;
}

Result<Message> Channel::receive(Deadline deadline) noexcept {
  if (!state_) return Errc::closed;
  ChannelState& state = *state_;
  const Gate::Entry entry(state.gate, Gate::kReceiver);
  if (!entry) return Errc::closed;
  Result<Message> message =
      state.wait_for(Ready::receive, deadline, [&]() noexcept { return state.impl->try_receive(); });
  if (message) {
    state.count_received(*message);
  } else {
    state.note(message.error());
  }
  return message;
}

Result<Loan> Channel::try_loan(std::size_t size) noexcept { return loan(size, Deadline::min()); }

Result<Loan> Channel::loan(std::size_t size, Deadline deadline) noexcept {
  if (!state_) return Errc::closed;
  ChannelState& state = *state_;
  const Gate::Entry entry(state.gate, Gate::kSender);
  Result<std::span<std::byte>> room = Errc::closed;
  if (entry) {
    if (const std::error_code error = state.begin_send()) return error;
    const auto attempt = [&]() noexcept { return state.impl->try_loan(size); };
    room = deadline == Deadline::min() ? attempt() : state.wait_for(Ready::send, deadline, attempt);
  }
  if (!room) {
    state.count_sent(room.error(), size);
    return room.error();
  }
  state.loan_open = true;
  return Loan(state_.get(), *room);
}

Loan& Loan::operator=(Loan&& other) noexcept {
  if (this != &other) {
    drop();
    state_ = std::exchange(other.state_, nullptr);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

std::error_code Loan::publish(std::size_t used) noexcept {
  if (state_ == nullptr) return Errc::closed;
  ChannelState& state = *std::exchange(state_, nullptr);
  const std::size_t size = std::exchange(bytes_, {}).size();
  std::error_code outcome = Errc::closed;
  const Gate::Entry entry(state.gate, Gate::kSender);
  if (entry && state.loan_open) {
    state.disarm_room();
    state.loan_open = false;
    if (used > size) {
      state.impl->drop_loan();
      outcome = Errc::message_too_large;
    } else {
      outcome = state.impl->publish(used);
    }
  }
  state.count_sent(outcome, used);
  return outcome;
}

void Loan::drop() noexcept {
  if (state_ == nullptr) return;
  ChannelState& state = *std::exchange(state_, nullptr);
  bytes_ = {};
  const Gate::Entry entry(state.gate, Gate::kSender);
  if (!entry || !state.loan_open) return;
  state.loan_open = false;
  state.impl->drop_loan();
}

std::size_t Channel::send_some(std::span<const std::span<const std::byte>> payloads, std::error_code& error) noexcept {
  error = state_ ? std::error_code{} : make_error_code(Errc::closed);
  if (!state_) return 0;
  ChannelState& state = *state_;
  const Gate::Entry entry(state.gate, Gate::kSender);
  if (!entry) error = Errc::closed;
  if (entry) error = state.begin_send();
  if (error) return 0;
  std::size_t count = 0;
  state.impl->batch_begin();
  for (const auto payload : payloads) {
    error = state.impl->try_send(payload);
    state.count_sent(error, payload.size());
    if (error) break;
    ++count;
  }
  state.impl->batch_end();
  return count;
}

void Channel::begin_batch() noexcept {
  if (!state_) return;
  const Gate::Entry entry(state_->gate, Gate::kSender);
  if (entry) state_->impl->batch_begin();
}

void Channel::end_batch() noexcept {
  if (!state_) return;
  const Gate::Entry entry(state_->gate, Gate::kSender);
  if (entry) state_->impl->batch_end();
}

std::error_code Channel::flush(Deadline deadline) noexcept {
  if (!state_) return Errc::closed;
  const Gate::Entry entry(state_->gate, Gate::kSender);
  if (!entry) return Errc::closed;
  state_->disarm_room();
  return state_->wait_for(Ready::send, deadline, [this]() noexcept { return state_->impl->try_flush(); });
}

std::error_code Channel::try_flush() noexcept {
  if (!state_) return Errc::closed;
  const Gate::Entry entry(state_->gate, Gate::kSender);
  if (!entry) return Errc::closed;
  state_->disarm_room();
  return state_->impl->try_flush();
}

int Channel::readable_fd() {
  if (!state_) throw Error(Errc::closed, "readable_fd: the channel is closed");
  const Gate::Entry entry(state_->gate, Gate::kReceiver);
  int fd = state_->readable.load(std::memory_order_relaxed);
  if (fd >= 0) return fd;
  if (!entry) throw Error(Errc::closed, describe("readable_fd", state_->address, Errc::closed));
  fd = state_->impl->readable_fd();
  state_->readable.store(fd, std::memory_order_relaxed);
  return fd;
}

void Channel::stay_awake(std::chrono::nanoseconds length) noexcept {
  if (!state_) return;
  const Gate::Entry entry(state_->gate, Gate::kReceiver);
  if (entry) state_->impl->stay_awake(length);
}

Books Channel::books() const noexcept {
  if (!state_) return {};
  state_->impl->refresh_ledger();
  return state_->impl->ledger().snapshot();
}

Traits Channel::traits() const noexcept { return state_ ? state_->impl->traits() : Traits{}; }
Peer Channel::peer() const { return state_ ? state_->impl->peer() : Peer{}; }
std::string_view Channel::address() const noexcept { return state_ ? std::string_view(state_->address) : ""; }

void Channel::close() noexcept {
  // What could not be handed over in time, or to a dead peer, stays open in the books.
  if (state_) static_cast<void>(state_->close(in(kLinger), false));
}

std::error_code Channel::close(Deadline deadline) noexcept {
  return state_ ? state_->close(deadline, true) : make_error_code(Errc::closed);
}

}  // namespace bus
