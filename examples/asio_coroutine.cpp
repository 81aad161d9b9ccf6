// A channel in a Boost.Asio program: a coroutine waits for it as for any descriptor.
//
//     asio_coroutine [ADDRESS]     listens, and prints messages until the sender closes
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <iostream>
#include <string>

namespace asio = boost::asio;

namespace {

/// Asio watches the descriptor and must not close it: it is the channel's.
class Watch {
 public:
  Watch(const asio::any_io_executor& executor, int fd) : descriptor_(executor, fd) {}
  ~Watch() { descriptor_.release(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  asio::awaitable<void> readable() {
    co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

asio::awaitable<void> serve(bus::Listener& listener) {
  const auto executor = co_await asio::this_coro::executor;
  Watch listening(executor, listener.readable_fd());
  bus::Result<bus::Channel> accepted = listener.try_accept();
  while (!accepted && accepted.error() == bus::Errc::would_block) {
    co_await listening.readable();
    accepted = listener.try_accept();
  }
  bus::Channel channel = std::move(accepted).value();

  Watch incoming(executor, channel.readable_fd());
  for (;;) {
    // Take all that is there, then wait: readable means that something is left to take.
    bus::Result<bus::Message> message = channel.try_receive();
    if (message) {
      std::cout << message->text() << '\n';
    } else if (message.error() == bus::Errc::would_block) {
      co_await incoming.readable();
    } else if (message.error() == bus::Errc::closed) {
      co_return;
    } else {
      throw std::system_error(message.error(), "receive");
    }
  }
}

}  // namespace

int main(int argc, char* argv[]) try {
  bus::Listener listener = bus::listen(argc > 1 ? argv[1] : "shm://asio");
  std::cerr << "listening on " << listener.address() << '\n';
  asio::io_context context(1);
  std::exception_ptr failure;
  asio::co_spawn(context, serve(listener), [&](std::exception_ptr error) { failure = std::move(error); });
  context.run();
  if (failure) std::rethrow_exception(failure);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "asio_coroutine: " << error.what() << '\n';
  return 1;
}
