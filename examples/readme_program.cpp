// One program, both ends: `serve ADDRESS` answers each text in capitals, `ask ADDRESS TEXT...` asks and prints.
#include <bus/core/books.hpp>
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

int serve(std::string_view address) {
  bus::Listener listener = bus::listen(address);  // throws bus::Error: its text says what to do
  std::cerr << "listening on " << listener.address() << '\n';
  bus::Channel channel = listener.accept().value();
  for (;;) {
    bus::Result<bus::Message> question = channel.receive();  // waits; the message is a view, nothing is copied
    if (question.has_error()) return question.error() == bus::Errc::closed ? 0 : 1;  // or peer_died, corrupt
    bus::Result<bus::Loan> answer = channel.loan(question->size());  // room in the outgoing buffer itself
    if (answer.has_error()) return 1;
    std::ranges::transform(question->text(), reinterpret_cast<char*>(answer->data()),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (answer->publish()) return 1;
  }
}

int ask(std::string_view address, std::span<char*> texts) {
  bus::Channel channel = bus::connect(address, bus::in(5s));  // waits for the server to appear
  for (const std::string_view text : texts) {
    if (const std::error_code error = channel.send(bus::bytes_of(text), bus::in(1s)))
      throw std::system_error(error, "send");
    std::cout << channel.receive(bus::in(1s)).value().text() << '\n';  // value() throws what went wrong
  }
  if (const std::error_code error = channel.close(bus::in(1s))) throw std::system_error(error, "close");
  const bus::Books books = channel.books();  // both ends have said their counts
  std::cout << books.accepted << " sent, " << books.received << " received, the books "
            << (books.closed() ? "close\n" : "do not close\n");
  return books.closed() ? 0 : 1;
}

int main(int argc, char* argv[]) try {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  if (argc == 3 && arguments[1] == std::string_view("serve")) return serve(arguments[2]);
  if (argc >= 4 && arguments[1] == std::string_view("ask")) return ask(arguments[2], arguments.subspan(3));
  std::cerr << "usage: readme_program serve ADDRESS | ask ADDRESS TEXT...\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "readme_program: " << error.what() << '\n';
  return 1;
}
