// transports/shm/shm_transport.cpp: shared memory, met through a control socket in the runtime directory.
#include "bus/core/fault_point.hpp"
#include "bus/core/os/local_socket.hpp"
#include "transports/all.hpp"
#include "transports/shm/handshake.hpp"
#include "transports/stream/acceptor.hpp"

namespace bus {
namespace {

constexpr std::string_view kKind = "shm";

std::string control_path(const Address& address) { return os::socket_path(address.host(), kKind, address.text()); }

class ShmGreeting final : public stream::Greeting {
 public:
  ShmGreeting(os::Fd connection, const std::string& path, const Options& options)
      : handshake_(shm::Handshake::Role::accepting, std::move(connection), path, options) {}
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> step() noexcept override { return handshake_.step(); }
  [[nodiscard]] int fd() const noexcept override { return handshake_.fd(); }
  [[nodiscard]] short events() const noexcept override { return handshake_.events(); }

 private:
  shm::Handshake handshake_;
};

class ShmListener final : public ListenerImpl {
 public:
  ShmListener(const Address& address, const Options& options)
      : address_(address.text()),
        options_(options),
        socket_(control_path(address), address.text()),
        acceptor_(socket_.fd(), [this](os::Fd connection) -> std::unique_ptr<stream::Greeting> {
          return std::make_unique<ShmGreeting>(std::move(connection), socket_.path(), options_);
        }) {}

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override { return acceptor_.try_accept(); }
  [[nodiscard]] bool arm(WaitSet& set) noexcept override { return acceptor_.arm(set); }
  [[nodiscard]] int readable_fd() override { return acceptor_.readable_fd(); }
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  const std::string address_;
  const Options options_;
  os::LocalListener socket_;
  stream::Acceptor acceptor_;
};

class ShmConnector final : public ConnectorImpl {
 public:
  ShmConnector(const Address& address, const Options& options) : path_(control_path(address)), options_(options) {}

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override {
    try {
      if (!handshake_) {
        Result<os::Fd> socket = os::connect_local(path_);
        queue_full_ = !socket && socket.error() == Errc::would_block;
        if (!socket) {
          detail_ = socket.error() == Errc::permission_denied ? path_ + " does not let this user in" : "";
          return socket.error();
        }
        handshake_ =
            std::make_unique<shm::Handshake>(shm::Handshake::Role::connecting, std::move(*socket), path_, options_);
      }
      auto channel = handshake_->step();
      if (channel || channel.error() != Errc::would_block) {
        detail_ = handshake_->detail();
        handshake_.reset();
      }
      return channel;
    } catch (const Error& e) {
      detail_ = e.what();
      return e.code();
    } catch (const std::bad_alloc&) {
      return Errc::no_room;
    }
  }

  void arm(WaitSet& set) noexcept override {
    if (handshake_) set.add(handshake_->fd(), handshake_->events());
    if (queue_full_) set.at_most(kQueueRetry);
  }

  [[nodiscard]] std::string detail() const override {
    return handshake_ || queue_full_ ? "somebody listens there, but has not accepted the connection" : detail_;
  }

 private:
  static constexpr auto kQueueRetry = std::chrono::milliseconds(5);
  const std::string path_;
  const Options options_;
  std::unique_ptr<shm::Handshake> handshake_;
  std::string detail_;
  bool queue_full_ = false;
};

class ShmTransport final : public Transport {
 public:
  [[nodiscard]] std::string_view scheme() const noexcept override { return "shm"; }
  [[nodiscard]] std::string_view summary() const noexcept override {
    return "shared memory between processes of one user on this host";
  }
  void check(const Address& address) const override {
    if (address.port() || !address.path().empty() || address.host().empty()) {
      throw Error(Errc::bad_address, address.text() + ": an shm address is shm://NAME, without port or path");
    }
  }
  [[nodiscard]] std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    return std::make_unique<ShmListener>(address, options);
  }
  [[nodiscard]] std::unique_ptr<ConnectorImpl> connector(const Address& address,
                                                         const Options& options) const override {
    return std::make_unique<ShmConnector>(address, options);
  }
};

}  // namespace

const Transport& shm_transport() noexcept {
  static const ShmTransport transport;
  return transport;
}

}  // namespace bus
