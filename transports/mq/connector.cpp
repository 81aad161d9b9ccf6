// transports/mq/connector.cpp: reaches a listener, and opens the queues that it has made.
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "bus/core/fault_point.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/os/pass_fd.hpp"
#include "transports/mq/channel.hpp"
#include "transports/mq/endpoints.hpp"
#include "transports/mq/link.hpp"

namespace bus::mq {
namespace {

using namespace std::chrono_literals;

constexpr auto kBacklogRetry = 5ms;  // the listener's queue of connections is full, and nothing tells when it is not

class MqConnector final : public ConnectorImpl {
 public:
  MqConnector(const Address& address, const Options& options)
      : place_(address), address_(address.text()), wish_(Wish::from(address, options)) {}

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override {
    detail_.clear();
    try {
      if (!socket_) {
        if (const std::error_code error = say_hello()) return error;
      }
      const std::error_code error = hear_welcome();
      if (error == Errc::would_block) return error;
      if (error) return give_up(error);
      return take_offer();
    } catch (const std::system_error& e) {
      detail_ = e.what();
      return give_up(e.code());
    } catch (const std::bad_alloc&) {
      return give_up(Errc::no_room);
    }
  }

  void arm(WaitSet& set) noexcept override {
    if (socket_) {
      set.add(socket_.get(), POLLIN);
    } else {
      set.at_most(kBacklogRetry);
    }
  }
  [[nodiscard]] std::string detail() const override { return detail_; }

 private:
  [[nodiscard]] std::error_code say_hello() {
    Result<os::Fd> socket = os::connect_local(place_.path);
    if (!socket) {
      if (socket.error() == Errc::no_peer && !swept_) swept_ = sweep(place_);
      if (socket.error() == Errc::permission_denied) detail_ = place_.path + " is not ours";
      return socket.error();
    }
    const std::optional<os::Credentials> who = os::peer_credentials(socket->get());
    if (!who || !os::is_trusted(who->uid)) {
      detail_ = "another user listens on " + place_.path;
      return Errc::permission_denied;
    }
    who_ = *who;
    const std::error_code error =
        send_frame(socket->get(), encode(Hello{wish_.depth, random_id(), wish_.max_message, wish_.capacity}));
    if (error == Errc::peer_died) return Errc::no_peer;
    if (error) return error;
    socket_ = std::move(*socket);
    return {};
  }

  /// WELCOME and its descriptors come as one.
  [[nodiscard]] std::error_code hear_welcome() {
    Result<os::Received> received = os::receive_with_fds(socket_.get(), welcome_, kDescriptors);
    if (!received) return received.error();
    if (received->size == 0) return Errc::peer_died;
    if (received->size != welcome_.size()) return Errc::corrupt;
    descriptors_ = std::move(received->fds);
    return {};
  }

  /// Ends this attempt. What only says that this listener went away lets the next attempt find another.
  [[nodiscard]] std::error_code give_up(std::error_code error) noexcept {
    socket_.reset();
    descriptors_.clear();
    if (error != Errc::peer_died && error != Errc::no_peer) return error;
    swept_ = sweep(place_);
    return Errc::no_peer;
  }

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> take_offer() {
    const Result<Welcome> welcome = decode_welcome(welcome_);
    if (!welcome) return give_up(welcome.error());
    if (welcome->status == Status::other_version) return give_up(Errc::version_mismatch);
    if (welcome->status == Status::no_room) {
      detail_ = "the listener has no room for the queues: /dev/shm or its descriptors are used up";
      return give_up(Errc::no_room);
    }
    const auto is_event = [](const os::Fd& fd) { return os::is_eventfd(fd.get()); };
    if ((wish_.depth != 0 && welcome->down_depth != wish_.depth) || descriptors_.size() != kDescriptors ||
        !std::all_of(descriptors_.begin() + 1, descriptors_.end(), is_event)) {
      return give_up(Errc::corrupt);
    }
    WakePage page = WakePage::map(descriptors_[0]);
    // If the listener dies before it can remove the names, they are ours to remove; if not, it is quicker or they go
    // twice, and they are never used again.
    const QueueName up_name(place_.up(welcome->token)), down_name(place_.down(welcome->token));
    Queue up = Queue::open(up_name.text(), welcome->up_depth, slot_for(welcome->max_message));
    Queue down = Queue::open(down_name.text(), welcome->down_depth, slot_for(wish_.max_message));
    if (const std::error_code error = send_frame(socket_.get(), std::as_bytes(std::span(kReady)))) {
      return give_up(error);
    }
    Peer peer;
    peer.address = address_ + " of process " + std::to_string(who_.pid);
    peer.uid = who_.uid;
    peer.gid = who_.gid;
    peer.pid = who_.pid;
    peer.instance = welcome->instance;
    return std::make_unique<MqChannel>(Link{std::move(socket_), std::move(down), std::move(up), std::move(page),
                                            Events{std::move(descriptors_[1]), std::move(descriptors_[2])},
                                            Events{std::move(descriptors_[3]), std::move(descriptors_[4])}, false,
                                            static_cast<std::size_t>(welcome->max_message), std::move(peer)},
                                       place_);
  }

  const Place place_;
  const std::string address_;
  const Wish wish_;
  bool swept_ = false;  // what the last listener may have left is gone
  os::Fd socket_;
  os::Credentials who_{};
  std::array<std::byte, Welcome::kBytes> welcome_{};
  std::vector<os::Fd> descriptors_;
  std::string detail_;
};

}  // namespace

std::unique_ptr<ConnectorImpl> make_connector(const Address& address, const Options& options) {
  return std::make_unique<MqConnector>(address, options);
}

}  // namespace bus::mq
