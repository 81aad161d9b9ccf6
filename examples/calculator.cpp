// examples/calculator.cpp: a service that answers questions, and a program that asks.
//
//   calculator serve [BUS]           answers until 3 questions were asked
//   calculator ask A B [BUS]         prints A + B
#include <atomic>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include "bus/client/node.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "serve") {
    bus::Node node = bus::Node::join(argc > 2 ? argv[2] : "shm://calculator");
    std::atomic<int> asked{0};
    const bus::Service adding = node.serve("math.add", [&asked](bus::Request& question) {
      std::istringstream numbers{std::string(question.text())};
      long a = 0, b = 0;
      numbers >> a >> b;
      if (const auto error = question.reply(bus::bytes_of(std::to_string(a + b)))) {
        std::cerr << "no answer: " << error.message() << "\n";
      }
      ++asked;
      asked.notify_one();
    });
    for (int before = 0; before < 3; before = asked) asked.wait(before);
    return node.flush(bus::in(5s)) ? 1 : 0;  // the last answer is on its way
  }
  if (role == "ask" && argc > 3) {
    bus::Node node = bus::Node::join(argc > 4 ? argv[4] : "shm://calculator");
    if (node.wait_subscribers("math.add", 1, bus::in(20s))) {
      std::cerr << "nobody adds\n";
      return 1;
    }
    const bus::Result<bus::Delivery> answer =
        node.request("math.add", bus::bytes_of(std::string(argv[2]) + " " + argv[3]), bus::in(5s));
    if (!answer) {
      std::cerr << "no answer: " << answer.error().message() << "\n";
      return 1;
    }
    std::cout << answer->text() << "\n";
    return 0;
  }
  std::cerr << "usage: calculator serve [BUS] | ask A B [BUS]\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
