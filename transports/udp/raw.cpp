// transports/udp/raw.cpp: datagrams as they come.
#include "transports/udp/raw.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <functional>
#include <new>

#include "bus/core/errc.hpp"
#include "transports/udp/packet.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

constexpr std::size_t kMostPumps = 512;
constexpr std::size_t kBuffer = std::size_t{4} << 20;  // nobody keeps a window: the buffer is all there is

std::size_t at(Reason reason) noexcept { return static_cast<std::size_t>(reason); }

os::Fd watch(std::initializer_list<int> fds) {
  os::Fd epoll = os::make_epoll();
  for (const int fd : fds) {
    if (!os::epoll_set(epoll.get(), fd, EPOLLIN, 0)) throw Error(last_system_error(), "readable_fd: cannot use epoll");
  }
  return epoll;
}

Clock::rep now() noexcept { return Clock::now().time_since_epoch().count(); }

}  // namespace

// ---- both kinds ----

Traits RawChannel::traits() const noexcept {
  Traits traits;
  traits.reliable = false;
  traits.ordered = false;
  traits.keeps_boundaries = true;
  traits.exchanges_books = false;
  traits.tells_death = false;
  traits.receives_in_place = true;
  traits.loans_in_place = false;
  traits.max_message = kMostDatagram;
  return traits;
}

Peer RawChannel::peer() const {
  Peer peer;
  peer.address = peer_.text();
  return peer;
}

std::error_code RawChannel::judge(std::error_code error) noexcept {
  if (!error || error == Errc::would_block || error == Errc::closed || error == Errc::peer_died) return error;
  if (error == std::errc::message_size) return Errc::message_too_large;
  // No route, a filter, no memory: the datagram was accepted and is gone.
  ledger_.lost[at(Reason::network)].add();
  return {};
}

std::error_code RawChannel::try_send(std::span<const std::byte> payload) noexcept {
  if (payload.size() > kMostDatagram) return Errc::message_too_large;
  return judge(send_datagram(payload));
}

Result<std::span<std::byte>> RawChannel::try_loan(std::size_t size) noexcept {
  if (size > kMostDatagram) return Errc::message_too_large;
  try {
    if (loan_.size() < size) loan_.resize(size);
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  }
  return std::span<std::byte>(loan_).first(size);
}

std::error_code RawChannel::publish(std::size_t used) noexcept {
  const auto error = judge(send_datagram(std::span<const std::byte>(loan_).first(used)));
  if (error != Errc::would_block) return error;
  // A loan is never refused for want of room, and nothing here keeps datagrams: it is lost, and counted.
  ledger_.lost[at(Reason::kernel_buffer)].add();
  return {};
}

// ---- connected ----

RawConnected::RawConnected(os::Fd socket, const Endpoint& peer, std::size_t max_message)
    : RawChannel(peer), fd_(std::move(socket)), max_message_(max_message), dead_event_(os::make_event()) {
  static_cast<void>(set_receive_buffer(fd_.get(), kBuffer));
  tell_drops(fd_.get());
}

void RawConnected::die() noexcept {
  dead_.store(true, std::memory_order_relaxed);
  os::signal_event(dead_event_.get());
}

std::error_code RawConnected::send_datagram(std::span<const std::byte> datagram) noexcept {
  if (dead_.load(std::memory_order_relaxed)) return Errc::peer_died;
  const std::error_code error = send_one(fd_.get(), datagram);
  if (error != std::errc::connection_refused) return error;
  die();
  return Errc::peer_died;
}

Result<Message> RawConnected::try_receive() noexcept {
  for (std::size_t i = 0; i < kMostPumps; ++i) {
    const std::span<std::byte> room = intake_.room();
    if (room.empty()) return Errc::no_room;
    const Result<Received> received = receive(fd_.get(), room);
    if (!received) {
      if (received.error() == Errc::would_block) {
        return dead_.load(std::memory_order_relaxed) ? Errc::peer_died : Errc::would_block;
      }
      if (received.error() == std::errc::connection_refused) die();
      continue;
    }
    if (received->drops) {
      ledger_.dropped[at(Reason::kernel_buffer)].add(*received->drops - drops_);
      drops_ = *received->drops;
    }
    if (received->bytes > max_message_) {
      ledger_.dropped[at(Reason::too_large)].add();
      continue;
    }
    Chunk& chunk = intake_.issue();
    intake_.received(received->bytes);
    return Message({room.data(), received->bytes}, &chunk, nullptr);
  }
  return Errc::would_block;
}

std::error_code RawConnected::try_close(bool) noexcept {
  return {};  // there is nobody to tell
}

bool RawConnected::arm(Ready ready, WaitSet& set) noexcept {
  set.add(fd_.get(), ready == Ready::send ? POLLOUT : POLLIN);
  set.add(dead_event_.get(), POLLIN);
  return dead_.load(std::memory_order_relaxed);
}

int RawConnected::readable_fd() {
  if (!readable_) readable_ = watch({fd_.get(), dead_event_.get()});
  return readable_.get();
}

Result<std::unique_ptr<ChannelImpl>> RawConnector::try_connect() noexcept {
  try {
    auto socket = make_socket(to_);
    if (!socket) return socket.error();
    if (const auto error = connect_to(socket->get(), to_)) return error;
    return std::unique_ptr<ChannelImpl>(std::make_unique<RawConnected>(std::move(*socket), to_, max_message_));
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  } catch (const Error& error) {
    return error.code();
  }
}

// ---- one socket for many ----

std::size_t RawHub::Hash::operator()(const Endpoint& endpoint) const noexcept {
  return std::hash<std::string_view>{}(endpoint.host_bytes()) * 31 + endpoint.port();
}

RawHub::RawHub(os::Fd socket, const Options& options)
    : fd_(std::move(socket)),
      max_message_(options.max_message),
      capacity_(options.capacity),
      accept_event_(os::make_event()) {
  static_cast<void>(set_receive_buffer(fd_.get(), kBuffer));
}

bool RawHub::pump() {
  const std::span<std::byte> room = intake_.room();
  if (room.empty()) return false;
  const Result<ReceivedFrom> received = receive_from(fd_.get(), room);
  if (!received) return received.error() != Errc::would_block;
  if (received->from.size() == 0) return true;
  auto at_channel = channels_.find(received->from);
  if (at_channel == channels_.end()) {
    // Without a listener nobody could accept it; without room it is as if the kernel had dropped it.
    if (!listening_ || !make_room()) return true;
    open(received->from);
    at_channel = channels_.find(received->from);
  }
  at_channel->second->take(std::span<const std::byte>(room).first(received->bytes), intake_);
  intake_.received(received->bytes);
  return true;
}

void RawHub::open(const Endpoint& from) {
  // The places first: once there is a channel nothing may fail, for it could not be destroyed under this lock.
  pending_.emplace_back();
  try {
    RawServed*& place = channels_.emplace(from, nullptr).first->second;
    pending_.back() = std::make_unique<RawServed>(shared_from_this(), from);
    place = pending_.back().get();
  } catch (const std::exception&) {
    channels_.erase(from);
    pending_.pop_back();
    throw;
  }
  os::signal_event(accept_event_.get());
}

// With as many channels as there may be, the one that has been idle longest ends, if it has been for long.
bool RawHub::make_room() noexcept {
  if (channels_.size() < kMostChannels) return true;
  const Clock::rep limit = (Clock::now() - kIdle).time_since_epoch().count();
  auto idlest = channels_.end();
  for (auto i = channels_.begin(); i != channels_.end(); ++i) {
    const Clock::rep used = i->second->used_.load(std::memory_order_relaxed);
    if (used > limit) continue;
    if (idlest == channels_.end() || used < idlest->second->used_.load(std::memory_order_relaxed)) idlest = i;
  }
  if (idlest == channels_.end()) return false;
  RawServed& channel = *idlest->second;
  channels_.erase(idlest);
  channel.ended_.store(true, std::memory_order_relaxed);
  channel.show(true);
  return true;
}

// ---- one of them ----

RawServed::RawServed(std::shared_ptr<RawHub> hub, const Endpoint& peer)
    : RawChannel(peer), hub_(std::move(hub)), event_(os::make_event()), used_(now()) {}

RawServed::~RawServed() {
  const std::lock_guard lock(hub_->mutex_);
  drop_waiting();
  if (!ended_.load(std::memory_order_relaxed)) hub_->channels_.erase(peer_);
}

void RawServed::take(std::span<const std::byte> datagram, Intake& intake) {
  used_.store(now(), std::memory_order_relaxed);
  if (datagram.size() > hub_->max_message_) {
    ledger_.dropped[at(Reason::too_large)].add();
    return;
  }
  if (waiting_bytes_ + datagram.size() > std::max(hub_->capacity_, kMostDatagram) || waiting_.size() >= kMostWaiting) {
    ledger_.dropped[at(Reason::queue_full)].add();
    return;
  }
  waiting_.push_back({datagram.data(), datagram.size(), nullptr});  // may throw, so before the issue
  waiting_.back().chunk = &intake.issue();
  waiting_bytes_ += datagram.size();
  show(true);
}

void RawServed::show(bool readable) noexcept {
  if (readable == signalled_ || (readable && !armed_ && !readable_)) return;
  signalled_ = readable;
  readable ? os::signal_event(event_.get()) : os::clear_event(event_.get());
}

void RawServed::drop_waiting() noexcept {
  for (const Item& item : waiting_) item.chunk->release(nullptr);
  if (!waiting_.empty()) ledger_.dropped[at(Reason::closed)].add(waiting_.size());
  waiting_.clear();
}

std::error_code RawServed::send_datagram(std::span<const std::byte> datagram) noexcept {
  if (ended_.load(std::memory_order_relaxed)) return Errc::closed;
  used_.store(now(), std::memory_order_relaxed);
  return send_to(hub_->fd_.get(), datagram, peer_);
}

Result<Message> RawServed::try_receive() noexcept {
  const std::lock_guard lock(hub_->mutex_);
  try {
    for (std::size_t i = 0; waiting_.empty() && i < kMostPumps && hub_->pump(); ++i) {
    }
  } catch (const std::exception&) {
    // No memory or descriptors for what came, perhaps for another channel: it is dropped as the kernel would.
  }
  if (waiting_.empty()) {
    if (ended_.load(std::memory_order_relaxed)) return Errc::closed;
    show(false);
    return Errc::would_block;
  }
  const Item item = waiting_.front();
  waiting_.pop_front();
  waiting_bytes_ -= item.size;
  if (readable_) show(!waiting_.empty() || ended_.load(std::memory_order_relaxed));
  return Message({item.data, item.size}, item.chunk, nullptr);
}

std::error_code RawServed::try_close(bool) noexcept {
  const std::lock_guard lock(hub_->mutex_);
  drop_waiting();
  return {};  // there is nobody to tell
}

bool RawServed::arm(Ready ready, WaitSet& set) noexcept {
  if (ready == Ready::send) {
    set.add(hub_->fd_.get(), POLLOUT);
    return ended_.load(std::memory_order_relaxed);
  }
  const std::lock_guard lock(hub_->mutex_);
  set.add(hub_->fd_.get(), POLLIN);
  set.add(event_.get(), POLLIN);
  armed_ = true;
  return !waiting_.empty() || ended_.load(std::memory_order_relaxed);
}

void RawServed::disarm(Ready ready) noexcept {
  if (ready == Ready::send) return;
  const std::lock_guard lock(hub_->mutex_);
  armed_ = false;
  if (!readable_) show(false);
}

int RawServed::readable_fd() {
  const std::lock_guard lock(hub_->mutex_);
  if (!readable_) {
    readable_ = watch({hub_->fd_.get(), event_.get()});
    show(!waiting_.empty() || ended_.load(std::memory_order_relaxed));
  }
  return readable_.get();
}

// ---- the listener ----

RawListener::~RawListener() {
  std::deque<std::unique_ptr<RawServed>> unwanted;  // destroyed without the lock, which they take
  const std::lock_guard lock(hub_->mutex_);
  hub_->listening_ = false;
  unwanted.swap(hub_->pending_);
}

Result<std::unique_ptr<ChannelImpl>> RawListener::try_accept() noexcept {
  const std::lock_guard lock(hub_->mutex_);
  try {
    for (std::size_t i = 0; hub_->pending_.empty() && i < kMostPumps && hub_->pump(); ++i) {
    }
  } catch (const std::exception&) {
    return Errc::no_room;  // the datagram is dropped; its sender may send another
  }
  if (hub_->pending_.empty()) {
    os::clear_event(hub_->accept_event_.get());
    return Errc::would_block;
  }
  std::unique_ptr<ChannelImpl> channel = std::move(hub_->pending_.front());
  hub_->pending_.pop_front();
  return channel;
}

bool RawListener::arm(WaitSet& set) noexcept {
  set.add(hub_->fd_.get(), POLLIN);
  set.add(hub_->accept_event_.get(), POLLIN);
  return false;
}

int RawListener::readable_fd() {
  if (!readable_) readable_ = watch({hub_->fd_.get(), hub_->accept_event_.get()});
  return readable_.get();
}

}  // namespace bus::udp
