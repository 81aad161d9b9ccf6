// transports/udp/raw.hpp: framing=raw: a datagram is a message, and nothing is said beside them.
//
// Talks to any program that uses UDP. Nothing tells of loss or of the peer's end, so no books are exchanged; what
// the kernel dropped at a connected socket is counted. A connecting end has a connected socket. A listening end has
// one socket for all: each address that sends to it is a channel, kMostChannels at most.
//
// Locks: a RawHub has one, for its socket and all its channels; whoever wants to receive takes datagrams in for all.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/udp/endpoint.hpp"
#include "transports/udp/intake.hpp"

namespace bus::udp {

/// What the sending sides of both kinds have in common: loans, errors, traits.
class RawChannel : public ChannelImpl {
 public:
  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept final;
  [[nodiscard]] Result<std::span<std::byte>> try_loan(std::size_t size) noexcept final;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept final;
  void drop_loan() noexcept final {}
  [[nodiscard]] Traits traits() const noexcept final;
  [[nodiscard]] Peer peer() const final;

 protected:
  explicit RawChannel(const Endpoint& peer) noexcept : peer_(peer) {}
  /// would_block, closed, peer_died, or nothing.
  [[nodiscard]] virtual std::error_code send_datagram(std::span<const std::byte>) noexcept = 0;
  /// Errors that mean that this datagram is lost, and no more.
  [[nodiscard]] std::error_code judge(std::error_code) noexcept;

  const Endpoint peer_;

 private:
  std::vector<std::byte> loan_;  // sender's thread
};

/// A connected socket.
class RawConnected final : public RawChannel {
 public:
  RawConnected(os::Fd socket, const Endpoint& peer, std::size_t max_message);  // throws Error

  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  [[nodiscard]] int readable_fd() override;

 private:
  [[nodiscard]] std::error_code send_datagram(std::span<const std::byte>) noexcept override;
  void die() noexcept;

  const os::Fd fd_;
  const os::Lifeline lifeline_{fd_.get()};
  const std::size_t max_message_;
  const os::Fd dead_event_;  // readable once nobody is there
  std::atomic<bool> dead_{false};
  // receiver's thread
  Intake intake_;
  std::uint32_t drops_ = 0;
  os::Fd readable_;
};

class RawServed;

/// The socket of a listener and the channels on it. Lives until the last of them is gone.
class RawHub : public std::enable_shared_from_this<RawHub> {
 public:
  static constexpr std::size_t kMostChannels = 256;
  static constexpr auto kIdle = std::chrono::seconds(1);  // a channel that has been so long may be reclaimed

  RawHub(os::Fd socket, const Options& options);  // throws Error

 private:
  friend class RawServed;
  friend class RawListener;
  struct Hash {
    std::size_t operator()(const Endpoint&) const noexcept;
  };

  [[nodiscard]] bool pump();  // one datagram; false: none waits
  [[nodiscard]] bool make_room() noexcept;
  void open(const Endpoint& from);

  const os::Fd fd_;
  const os::Lifeline lifeline_{fd_.get()};
  const std::size_t max_message_, capacity_;
  const os::Fd accept_event_;

  std::mutex mutex_;  // guards all below, and the receiving side of every channel
  Intake intake_;
  bool listening_ = true;
  std::unordered_map<Endpoint, RawServed*, Hash> channels_;
  std::deque<std::unique_ptr<RawServed>> pending_;  // not yet accepted
};

/// One of the addresses that have sent something.
class RawServed final : public RawChannel {
 public:
  RawServed(std::shared_ptr<RawHub> hub, const Endpoint& peer);  // throws Error
  ~RawServed() override;

  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  void disarm(Ready) noexcept override;
  [[nodiscard]] int readable_fd() override;

 private:
  friend class RawHub;
  friend class RawListener;
  struct Item {
    const std::byte* data;
    std::size_t size;
    Chunk* chunk;
  };
  static constexpr std::size_t kMostWaiting = 1024;  // an empty datagram takes memory, too

  [[nodiscard]] std::error_code send_datagram(std::span<const std::byte>) noexcept override;
  // with the hub's lock
  void take(std::span<const std::byte> datagram, Intake& intake);
  void drop_waiting() noexcept;
  void show(bool readable) noexcept;

  const std::shared_ptr<RawHub> hub_;
  const os::Fd event_;
  std::atomic<bool> ended_{false};  // reclaimed
  std::atomic<Clock::rep> used_;    // when something last came or went
  // guarded by hub_->mutex_
  std::deque<Item> waiting_;
  std::size_t waiting_bytes_ = 0;
  bool armed_ = false, signalled_ = false;
  os::Fd readable_;
};

class RawListener final : public ListenerImpl {
 public:
  RawListener(std::shared_ptr<RawHub> hub, std::string address) noexcept
      : hub_(std::move(hub)), address_(std::move(address)) {}
  ~RawListener() override;

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override;
  [[nodiscard]] bool arm(WaitSet&) noexcept override;
  [[nodiscard]] int readable_fd() override;
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  const std::shared_ptr<RawHub> hub_;
  const std::string address_;
  os::Fd readable_;
};

class RawConnector final : public ConnectorImpl {
 public:
  RawConnector(const Options& options, const Endpoint& to) noexcept : max_message_(options.max_message), to_(to) {}
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override;
  void arm(WaitSet&) noexcept override {}

 private:
  const std::size_t max_message_;
  const Endpoint to_;
};

}  // namespace bus::udp
