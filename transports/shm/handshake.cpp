// transports/shm/handshake.cpp: credentials first, then hello against hello.
#include "transports/shm/handshake.hpp"

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include "bus/core/fault_point.hpp"
#include "bus/core/os/barrier.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/os/pass_fd.hpp"

namespace bus::shm {

Handshake::Handshake(Role role, os::Fd socket, std::string path, const Options& options)
    : role_(role),
      socket_(std::move(socket)),
      path_(std::move(path)),
      max_message_(options.max_message),
      wait_(options.wait),
      mine_(lane::Offer::make(options.capacity)) {
  hello_.has_membarrier = os::has_heavy_barrier();
  hello_.max_message = options.max_message;
  hello_.capacity = mine_.ring.capacity();
  hello_.pid = static_cast<std::uint32_t>(getpid());
  if (getrandom(hello_.instance.data(), hello_.instance.size(), 0) < 0) {
    throw Error(last_system_error(), describe("getrandom", "", last_system_error()));
  }
}

short Handshake::events() const noexcept {
  const bool to_say = !said_ && (role_ == Role::connecting || heard_);
  return to_say ? POLLOUT : POLLIN;
}

std::error_code Handshake::fail(std::error_code code, std::string why) {
  detail_ = std::move(why);
  return code;
}

Result<std::unique_ptr<ChannelImpl>> Handshake::step() noexcept {
  try {
    if (!peer_.uid) {
      const auto credentials = os::peer_credentials(socket_.get());
      if (!credentials || !os::is_trusted(credentials->uid)) {
        return fail(Errc::permission_denied,
                    "the peer runs as another user" + (credentials ? ", uid " + std::to_string(credentials->uid) : ""));
      }
      peer_.uid = credentials->uid;
      peer_.gid = credentials->gid;
      peer_.pid = credentials->pid;
    }
    if (role_ == Role::connecting && !said_) {
      if (const std::error_code error = say(true)) return error;
    }
    if (!heard_) {
      if (const std::error_code error = hear()) return error;
    }
    if (!said_) {
      if (const std::error_code error = say(true)) return error;
    }
    return join();
  } catch (const Error& e) {
    return fail(e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  }
}

std::error_code Handshake::say(bool with_fds) noexcept {
  const auto bytes = encode(hello_);
  const std::array<int, kHelloFds> fds{mine_.page->memfd(), mine_.ring.memfd(), mine_.bell.get(),
                                       mine_.room_bell.get()};
  BUS_FAULT_POINT();
  const std::error_code error =
      os::send_with_fds(socket_.get(), bytes, with_fds ? std::span<const int>(fds) : std::span<const int>());
  if (error == Errc::peer_died) return Errc::no_peer;
  if (error) return error;
  said_ = true;
  return {};
}

std::error_code Handshake::hear() {
  std::array<std::byte, kHelloBytes> bytes{};
  BUS_FAULT_POINT();
  Result<os::Received> received = os::receive_with_fds(socket_.get(), bytes, kHelloFds);
  if (!received) return received.error() == Errc::peer_died ? make_error_code(Errc::no_peer) : received.error();
  if (received->size == 0) return Errc::no_peer;
  const Result<Hello> hello = decode(std::span(bytes).first(received->size));
  if (!hello) return fail(hello.error(), "what answers there is no shm endpoint of ipcbus");
  if (hello->version != kVersion) {
    // Tell it our version, so that both sides can say what does not fit.
    if (role_ == Role::accepting) static_cast<void>(say(false));
    return fail(Errc::version_mismatch,
                "have " + std::to_string(kVersion) + ", peer " + std::to_string(hello->version));
  }
  if (received->fds.size() != kHelloFds) return fail(Errc::corrupt, "the peer's greeting lacks its descriptors");
  heard_ = *hello;
  theirs_.page = std::make_shared<lane::Page>(lane::Page::map(received->fds[0].get()));
  theirs_.ring = lane::Ring::map(received->fds[1].get(), static_cast<std::size_t>(hello->capacity));
  theirs_.bell = std::move(received->fds[2]);
  theirs_.room_bell = std::move(received->fds[3]);
  if (!os::is_eventfd(theirs_.bell.get()) || !os::is_eventfd(theirs_.room_bell.get())) {
    return fail(Errc::corrupt, "the peer passed something else than an eventfd to wake it by");
  }
  return {};
}

std::unique_ptr<ChannelImpl> Handshake::join() {
  lane::Link link;
  link.socket = std::move(socket_);
  link.max_send = static_cast<std::size_t>(heard_->max_message);
  link.max_receive = max_message_;
  link.fenced = !(hello_.has_membarrier && heard_->has_membarrier);
  link.linger = time_awake(wait_);
  peer_.address = "shm pid " + std::to_string(*peer_.pid);
  peer_.instance = heard_->instance;
  link.peer = peer_;
  if (role_ == Role::connecting) link.on_peer_death = [path = path_] { os::sweep_after_death(path); };
  mine_.ring.drop_memfd();
  return std::make_unique<lane::LaneChannel>(std::move(mine_), std::move(theirs_), std::move(link));
}

}  // namespace bus::shm
