// transports/mq/listener.cpp: takes connections, and makes the queues of each.
#include <poll.h>

#include <algorithm>
#include <optional>

#include "bus/core/fault_point.hpp"
#include "bus/core/os/local_socket.hpp"
#include "transports/mq/channel.hpp"
#include "transports/mq/endpoints.hpp"
#include "transports/mq/link.hpp"
#include "transports/stream/acceptor.hpp"

namespace bus::mq {
namespace {

struct Setup {
  Place place;
  std::string address;
  Wish wish;
};

/// HELLO comes, the queues are made and named in WELCOME, READY comes, the names go.
class Greeting final : public stream::Greeting {
 public:
  Greeting(os::Fd socket, const Setup& setup) noexcept : socket_(std::move(socket)), setup_(setup) {}

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> step() noexcept override {
    try {
      if (!offer_) {
        if (const std::error_code error = read_frame(socket_.get(), hello_, have_)) return error;
        if (const std::error_code error = welcome()) return error;
        have_ = 0;
      }
      if (const std::error_code error = read_frame(socket_.get(), ready_, have_)) return error;
      if (!std::equal(ready_.begin(), ready_.end(), kReady.begin(),
                      [](std::byte a, std::uint8_t b) { return std::to_integer<std::uint8_t>(a) == b; })) {
        return Errc::corrupt;
      }
      return finish();
    } catch (const std::system_error& e) {
      return e.code();
    } catch (const std::bad_alloc&) {
      return Errc::no_room;
    }
  }
  [[nodiscard]] int fd() const noexcept override { return socket_.get(); }
  [[nodiscard]] short events() const noexcept override { return POLLIN; }

 private:
  /// What the listener has made for this connector.
  struct Offer {
    QueueName up_name, down_name;
    Queue up, down;
    os::Fd page_descriptor;
    WakePage page;
    Events up_events, down_events;
    Hello hello;
    os::Credentials who;
  };

  [[nodiscard]] std::error_code welcome() {
    const std::optional<os::Credentials> who = os::peer_credentials(socket_.get());
    if (!who || !os::is_trusted(who->uid)) return Errc::permission_denied;
    Welcome answer;
    answer.instance = random_id();
    answer.max_message = setup_.wish.max_message;
    const Result<Hello> hello = decode_hello(hello_);
    if (!hello) {
      answer.status = Status::other_version;
      if (hello.error() == Errc::version_mismatch) static_cast<void>(send_frame(socket_.get(), encode(answer)));
      return hello.error();
    }
    answer.token = random_id();
    try {
      answer.up_depth = depth_for(setup_.wish);
      answer.down_depth = depth_for({hello->max_message, hello->capacity, hello->depth});
      make_offer(*hello, answer, *who);
    } catch (const std::exception&) {
      answer.status = Status::no_room;
      static_cast<void>(send_frame(socket_.get(), encode(answer)));  // it is turned away either way
      throw;
    }
    const std::array<int, kDescriptors> descriptors{offer_->page_descriptor.get(), offer_->up_events.message.get(),
                                                    offer_->up_events.room.get(), offer_->down_events.message.get(),
                                                    offer_->down_events.room.get()};
    const std::error_code error = send_frame(socket_.get(), encode(answer), descriptors);
    offer_->page_descriptor.reset();
    return error;
  }

  void make_offer(const Hello& hello, const Welcome& answer, const os::Credentials& who) {
    QueueName up_name(setup_.place.up(answer.token)), down_name(setup_.place.down(answer.token));
    Queue up = Queue::create(up_name.text(), answer.up_depth, slot_for(answer.max_message));
    Queue down = Queue::create(down_name.text(), answer.down_depth, slot_for(hello.max_message));
    os::Fd descriptor;
    WakePage page = WakePage::make(descriptor);
    offer_.emplace(Offer{std::move(up_name), std::move(down_name), std::move(up), std::move(down),
                         std::move(descriptor), std::move(page), Events{os::make_event(), os::make_event()},
                         Events{os::make_event(), os::make_event()}, hello, who});
  }

  [[nodiscard]] std::unique_ptr<ChannelImpl> finish() {
    offer_->up_name.remove();
    offer_->down_name.remove();
    Peer peer;
    peer.address = setup_.address + " from process " + std::to_string(offer_->who.pid);
    peer.uid = offer_->who.uid;
    peer.gid = offer_->who.gid;
    peer.pid = offer_->who.pid;
    peer.instance = offer_->hello.instance;
    return std::make_unique<MqChannel>(
        Link{std::move(socket_), std::move(offer_->up), std::move(offer_->down), std::move(offer_->page),
             std::move(offer_->up_events), std::move(offer_->down_events), true,
             static_cast<std::size_t>(offer_->hello.max_message), std::move(peer)},
        std::nullopt);
  }

  os::Fd socket_;
  const Setup& setup_;  // the listener's, which outlives its acceptor
  std::array<std::byte, Hello::kBytes> hello_{};
  std::array<std::byte, kReady.size()> ready_{};
  std::size_t have_ = 0;
  std::optional<Offer> offer_;
};

class MqListener final : public ListenerImpl {
 public:
  MqListener(const Address& address, const Options& options)
      : setup_{Place(address), address.text(), Wish::from(address, options)},
        socket_(setup_.place.path, address.text()),
        acceptor_(socket_.fd(), [this](os::Fd connection) -> std::unique_ptr<stream::Greeting> {
          return std::make_unique<Greeting>(std::move(connection), setup_);
        }) {
    remove_leftovers(setup_.place);  // we hold the lock, and have made no queue yet
  }

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override { return acceptor_.try_accept(); }
  [[nodiscard]] bool arm(WaitSet& set) noexcept override { return acceptor_.arm(set); }
  [[nodiscard]] int readable_fd() override { return acceptor_.readable_fd(); }
  [[nodiscard]] std::string address() const override { return setup_.address; }

 private:
  const Setup setup_;
  os::LocalListener socket_;
  stream::Acceptor acceptor_;
};

}  // namespace

std::unique_ptr<ListenerImpl> make_listener(const Address& address, const Options& options) {
  return std::make_unique<MqListener>(address, options);
}

}  // namespace bus::mq
