// examples/two_transports.cpp: one bus over two transports: a broker in the program joins shared memory and TCP.
//
//   two_transports [BUS]     BUS is shm://two; a free port of 127.0.0.1 is the other way in
//
// A thermometer publishes over TCP, as one on another machine would; whoever reads it is on this one, over shared
// memory, and asks back over the same bus. Neither knows how the other came to it.
#include <bus/broker/server.hpp>
#include <bus/client/node.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
  bus::broker::Server broker(
      {.listen = {argc > 1 ? argv[1] : "shm://two", "tcp://127.0.0.1:0"}, .limits = {}, .name = {}});
  std::thread working([&] { broker.run(); });
  struct End {
    bus::broker::Server& broker;
    std::thread& working;
    ~End() {
      broker.stop();
      working.join();
    }
  } const end{broker, working};
  const std::string near = broker.addresses()[0], far = broker.addresses()[1];

  bus::Node thermometer = bus::Node::join(far), reader = bus::Node::join(near);
  bus::Subscription readings = reader.subscribe("kitchen.*");  // in force when this returns
  const bus::Service answering = thermometer.serve("thermometer.unit", [](bus::Request& question) {
    if (question.reply(bus::bytes_of("celsius"))) std::cerr << "no answer\n";
  });

  for (const char* const value : {"20.5", "21.5"}) {
    if (const std::error_code error =
            thermometer.publish("kitchen.temperature", bus::bytes_of(std::string_view(value)))) {
      throw std::system_error(error, "publish");
    }
    const bus::Result<bus::Delivery> reading = readings.receive(bus::in(20s));
    const bus::Result<bus::Delivery> unit = reader.request("thermometer.unit", {}, bus::in(20s));
    std::cout << reading.value().subject() << " " << reading->text() << " " << unit.value().text() << "\n";
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "two_transports: " << error.what() << "\n";
  return 1;
}
