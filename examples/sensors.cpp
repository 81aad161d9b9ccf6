// examples/sensors.cpp: sensors publish, a monitor subscribes to all of them with a wildcard; nobody starts a broker.
//
//   sensors monitor [BUS]         prints 9 readings and ends
//   sensors kitchen|hall|... [BUS]   publishes 3 readings
#include <iostream>
#include <string>

#include "bus/client/node.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  if (argc < 2) {
    std::cerr << "usage: sensors monitor|NAME [BUS]\n";
    return 2;
  }
  const std::string role = argv[1];
  bus::Node node = bus::Node::join(argc > 2 ? argv[2] : "shm://sensors");

  if (role == "monitor") {
    bus::Subscription readings = node.subscribe("sensors.*.temperature");
    for (int i = 0; i < 9; ++i) {
      const bus::Result<bus::Delivery> reading = readings.receive(bus::in(20s));
      if (!reading) {
        std::cerr << "no reading: " << reading.error().message() << "\n";
        return 1;
      }
      std::cout << reading->subject() << " " << reading->text() << "\n";
    }
    return 0;
  }

  for (int i = 0; i < 3; ++i) {
    const std::string value = std::to_string(20 + i) + ".5";
    // The monitor may start later than the sensor: the first message waits for it.
    const std::error_code error =
        node.publish("sensors." + role + ".temperature", bus::bytes_of(value), {.wait_subscribers = 1}, bus::in(20s));
    if (error) {
      std::cerr << "not published: " << error.message() << "\n";
      return 1;
    }
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
